"""What a run of a fault found: which invariants held, how often they were compared, and how long it took."""

import statistics
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

__all__ = ["INVARIANTS", "Broken", "Run", "as_json", "as_markdown", "line_of"]

INVARIANTS: Final = {
    "I1": "no loss, no double count",
    "I2": "the final state equals the fold of what was written",
    "I3": "a client sees gap-free positions, or one explicit reset",
    "I4": "memory, descriptors and latency stay bounded",
    "I5": "no made-up value",
}


class Broken(AssertionError):
    """An invariant does not hold. `invariant` is a key of `INVARIANTS`."""

    def __init__(self, invariant: str, what: str) -> None:
        super().__init__(f"{invariant}: {what}")
        self.invariant = invariant


@dataclass
class Run:
    """One run: what happened, and what was found."""

    fault: str
    seed: int
    # What the system was that it happened to.
    kind: str = ""
    # Each time that it was brought about: how.
    strikes: list[str] = field(default_factory=list)
    # Seconds from each until all that is shown was right again.
    recovered_s: list[float] = field(default_factory=list)
    # How often each invariant was compared with the oracle, and held.
    held: Counter[str] = field(default_factory=Counter)
    # What differed, by invariant.
    broken: dict[str, str] = field(default_factory=dict)
    written: Counter[str] = field(default_factory=Counter)
    # Resident memory (MiB) and descriptors of all processes at the start and at the end; None where nobody looked.
    memory: tuple[float, float] | None = None
    descriptors: tuple[int, int] | None = None
    # What else was counted, and what was measured, by name.
    figures: Counter[str] = field(default_factory=Counter)
    measured: dict[str, float] = field(default_factory=dict)
    # Why it was not run here; empty if it was.
    left_out: str = ""

    def compare(self, invariant: str, wrong: str, times: int = 1) -> None:
        """Note that an invariant was compared so many times. Raises Broken: if something is `wrong`."""
        if wrong:
            raise Broken(invariant, wrong)
        self.held[invariant] += times


def line_of(run: Run) -> str:
    """A run in one line."""
    if run.left_out:
        return f"{run.fault}, seed {run.seed}: left out: {run.left_out}"
    said = "; ".join(f"{name} BROKEN: {what}" for name, what in run.broken.items()) or f"held: {_held([run])}"
    kind = f", {run.kind}" if run.kind else ""
    return f"{run.fault}, seed {run.seed}{kind}: {len(run.strikes)} times; {_recovery([run])}; {said}"


def as_json(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """The runs as plain values."""
    return [{name: value for name, value in vars(run).items() if value not in (None, "", {}, [])} for run in runs]


def as_markdown(runs: Sequence[Run], described: Iterable[tuple[str, str, str]]) -> str:
    """A section for each fault that was run; `described`: name of the fault, the row's own words, how."""
    parts = ["# What held\n", *(f"- {name}: {what}" for name, what in INVARIANTS.items()), ""]
    for name, row, how in described:
        own = [run for run in runs if run.fault == name]
        if own:
            parts += [f"## {name}: {row}\n", f"{how}\n", *_facts(own), ""]
    return "\n".join(parts)


def _facts(runs: Sequence[Run]) -> list[str]:
    left_out = {run.left_out for run in runs if run.left_out}
    ran = [run for run in runs if not run.left_out]
    facts = [f"- not run here: {why}" for why in sorted(left_out)]
    if not ran:
        return facts
    strikes, written = (sum((Counter(each) for each in all_of), Counter[str]()) for all_of in _counted(ran))
    facts.append(f"- runs: {len(ran)}, seeds {', '.join(str(run.seed) for run in ran)}")
    facts.append(f"- brought about: {sum(strikes.values())} times ({_counts(strikes)})")
    if written:
        facts.append(f"- written meanwhile: {_counts(written)}")
    facts.append(f"- held, by comparisons with the oracle: {_held(ran)}")
    facts += [f"- **{name} broken** (seed {run.seed}): {what}" for run in ran for name, what in run.broken.items()]
    facts.append(f"- {_recovery(ran)}")
    for title, unit, pairs in (
        ("resident memory", " MiB", [run.memory for run in ran if run.memory]),
        ("descriptors", "", [run.descriptors for run in ran if run.descriptors]),
    ):
        if pairs:
            told = ", ".join(f"{start:.0f} → {end:.0f}" for start, end in pairs)
            facts.append(f"- {title}, start → end:{unit and f' ({unit.strip()})'} {told}")
    figures = sum((run.figures for run in ran), Counter[str]())
    facts += [f"- besides: {_counts(figures)}"] if figures else []
    names = dict.fromkeys(name for run in ran for name in run.measured)
    return facts + [f"- {name}: {_values(run.measured[name] for run in ran if name in run.measured)}" for name in names]


def _counted(runs: Sequence[Run]) -> tuple[list[Any], list[Any]]:
    return [run.strikes for run in runs], [run.written for run in runs]


def _counts(counts: Counter[str]) -> str:
    return ", ".join(f"{count:,} {name}" for name, count in counts.items() if count)


def _values(values: Iterable[float]) -> str:
    return ", ".join(f"{value:.1f}" for value in values)


def _held(runs: Sequence[Run]) -> str:
    held = sum((run.held for run in runs), Counter[str]())
    broken = {name for run in runs for name in run.broken}
    return (
        ", ".join(f"{name} {held[name]:,} times" for name in INVARIANTS if held[name] and name not in broken)
        or "nothing"
    )


def _recovery(runs: Sequence[Run]) -> str:
    times = [each for run in runs for each in run.recovered_s]
    if not times:
        return "recovery was not timed"
    return f"right again after {statistics.median(times):.1f} s (median), {max(times):.1f} s (worst)"
