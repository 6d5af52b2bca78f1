"""Tracing: the way of a change from its source to the frame that a client gets, if ARK_TRACES_URL is set.

Each stage's part of the way is a span; the entries that it writes carry a W3C `traceparent` in the field `tp`, by which
the next stage continues. One share of the source batches is chosen where they are published, nobody chooses again.
Delivery: at most once, beside all else; a span that cannot be sent is dropped. While nothing is to be traced
OpenTelemetry is not imported, and a field `tp` is not looked at.
"""

import random
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Final, Protocol, TypeAlias

from processors.runtime.clock import BusClock
from processors.runtime.errors import SettingsError
from processors.runtime.settings import Settings

if TYPE_CHECKING:
    from processors.runtime.reads import Entry

__all__ = ["Attributes", "Recorder", "Trail", "arriving", "end_tracing", "record_to", "source_step", "start_tracing"]

Attributes: TypeAlias = Mapping[str, str | int]
"""What a span says of its step."""

_FIELD: Final = b"tp"

_INSTALL: Final = ".venv/bin/pip install --constraint deploy/constraints.txt --editable '.[traces]'"
# Version 00, neither id zero, and sampled: what a foreign producer does not sample we do not either.
_TRACEPARENT: Final = re.compile(rb"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f][13579bdf]")
# A step that follows from more traced entries is linked to the first of them only.
_MOST_PARENTS: Final = 8


class Recorder(Protocol):
    """Where spans go."""

    # Share of the source batches that is traced, 0 to 1.
    share: float
    clock: BusClock

    def span(
        self, name: str, parents: list[bytes], since_ns: int, attributes: Attributes
    ) -> AbstractContextManager[str]:
        """A span that ends with the block: the child of the first of `parents`, linked to the others.

        Gives its `traceparent`. An exception marks it as failed, and goes on.
        """

    def stop(self) -> None:
        """Send what waits, within about a second."""


# Of this process, as its log is; None: nothing is traced.
_recorder: Recorder | None = None
# The traceparents of the entries that are taken at this moment.
_arriving: list[bytes] = []


def start_tracing(stage: str, settings: Settings, clock: BusClock) -> None:
    """Trace this process, if ARK_TRACES_URL is set. Raises SettingsError: if what that needs is not installed."""
    if settings.ark_traces_url is None:
        return
    try:
        from processors.runtime.spans import OtlpRecorder
    except ModuleNotFoundError as error:
        problem = f"needs packages that are not installed ({error.name}): {_INSTALL}"
        raise SettingsError("ARK_TRACES_URL", problem) from error
    record_to(OtlpRecorder(stage, settings.ark_traces_url, settings.ark_traces_share, clock))


def end_tracing() -> None:
    """Send what waits, within about a second, and trace no more."""
    if _recorder is not None:
        _recorder.stop()
    record_to(None)


def record_to(recorder: Recorder | None) -> None:
    """Have the spans of this process go to `recorder`; None: nowhere."""
    global _recorder  # noqa: PLW0603  - one a process
    _recorder = recorder


@contextmanager
def source_step(collector: str, events: int) -> Iterator[str]:
    """The publishing of a source batch, as the first span of a trace; gives its `traceparent`, "" if not chosen."""
    if _recorder is None or not events or random.random() >= _recorder.share:  # noqa: S311  - no secret
        yield ""
        return
    attributes: Attributes = {"collector": collector, "events": events}
    with _recorder.span("publish", [], _recorder.clock.now_ns(), attributes) as traceparent:
        yield traceparent


@contextmanager
def arriving(entries: "Iterable[Entry]") -> Iterator[None]:
    """While the block runs, `entries` are taken: trails that `note_arriving` take up theirs."""
    global _arriving  # noqa: PLW0603  - one a process: nothing is awaited in the block
    _arriving = [] if _recorder is None else _traceparents(fields for _, fields in entries)
    try:
        yield
    finally:
        _arriving = []


class Trail:
    """What a stage has taken that is traced, until what follows from it is written.

    Overflow: of more than eight traced entries the first are kept.
    """

    __slots__ = ("_name", "_parents", "_since_ns")

    def __init__(self, name: str) -> None:
        # Of its spans.
        self._name = name
        # Where the entries stand that were taken since the last step; the first was taken at, ns by the bus.
        self._parents: list[bytes] = []
        self._since_ns = 0

    def note(self, fields: Mapping[bytes, bytes]) -> None:
        """The entry of these fields was taken."""
        if _FIELD in fields:
            self._add(_traceparents((fields,)))

    def note_all(self, entries: "Iterable[Entry]") -> None:
        """All of `entries` were taken."""
        for _, fields in entries:
            self.note(fields)

    def note_arriving(self) -> None:
        """What is `arriving` concerns this stage."""
        if _arriving:
            self._add(_arriving)

    def forget(self) -> None:
        """Nothing followed from what was taken."""
        self._parents = []

    def _add(self, parents: list[bytes]) -> None:
        if _recorder is None or not parents:
            return
        if not self._parents:
            self._since_ns = _recorder.clock.now_ns()
        self._parents = [*self._parents, *parents][:_MOST_PARENTS]

    def finish(self, **attributes: str | int) -> None:
        """What follows was written just now, and nothing follows from it."""
        if self._parents:
            with self.step(**attributes):
                pass

    @contextmanager
    def step(self, **attributes: str | int) -> Iterator[str]:
        """Write what follows, as one span; gives the `traceparent` to hand on, "" if nothing of it is traced."""
        parents, self._parents = self._parents, []
        if _recorder is None or not parents:
            yield ""
            return
        with _recorder.span(self._name, parents, self._since_ns, attributes) as traceparent:
            yield traceparent


def _traceparents(entries: Iterable[Mapping[bytes, bytes]]) -> list[bytes]:
    """Those of the entries that have one; what is none is as if it were not there."""
    values = (fields[_FIELD] for fields in entries if _FIELD in fields)
    return [value for value in values if _TRACEPARENT.fullmatch(value)]
