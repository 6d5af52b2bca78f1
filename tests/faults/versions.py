"""Two versions side by side: entries of a newer schema among ours, and an older release's aggregators beside ours."""

import io
import random
import subprocess
import tarfile
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Final

from schemas import codec, streams
from tests.faults.report import Run
from tests.faults.strikes import run_strikes
from tests.faults.system import Kind, System

__all__ = ["mix_versions"]

_REPOSITORY: Final = Path(__file__).parents[2]
_PARTITIONS: Final = 16
_COMMITS_BACK: Final = (10, 25)
"""How much older the other release is."""


def _older(back: int, directory: Path) -> str:
    """Unpack the release of so many commits ago; returns its commit. Raises CalledProcessError: if there is none."""
    commit = f"HEAD~{back}"
    asked = ["git", "-C", str(_REPOSITORY), "rev-parse", "--short", commit]
    name = subprocess.run(asked, check=True, capture_output=True, text=True).stdout.strip()
    packed = subprocess.run(["git", "-C", str(_REPOSITORY), "archive", commit], check=True, capture_output=True).stdout
    with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
        archive.extractall(directory, filter="data")
    return name


def _add_newer(system: System, chance: random.Random, count: int) -> None:
    """Add so many entries of the next schema version, as a newer collector would, to partitions of chance."""
    with system.stack.bus() as bus:
        for number in range(count):
            body = codec.encode([{"t": "heartbeat", "peer": f"newer-{number}", "ts": 1, "what": "nobody knows yet"}])
            fields = {**codec.entry_fields("events", int(time.time() * 1000), body), "v": codec.VERSION + 1}
            bus.xadd(streams.events_key(str(chance.randrange(_PARTITIONS))), fields)
            time.sleep(0.01)


def _parked(system: System) -> int:
    with system.stack.bus() as bus:
        lengths: list[int] = [bus.xlen(streams.parked_key(name)) for name in streams.live_partitions(_PARTITIONS)]
    return sum(lengths)


def mix_versions(run: Run, seconds: float) -> None:
    """Newer entries among ours while partitions go from our aggregators to an older release's and back."""
    added = Counter[str]()

    def newer(system: System, chance: random.Random) -> None:
        count = chance.randint(5, 50)
        _add_newer(system, chance, count)
        added["newer"] += count

    def to_older(system: System, _chance: random.Random) -> None:
        system.kill("aggregators")
        time.sleep(1.5)

    def to_ours(system: System, _chance: random.Random) -> None:
        system.second.kill()
        time.sleep(1.5)
        system.second.start()

    def compare(system: System) -> None:
        parked = _parked(system)
        wrong = "" if parked == added["newer"] else f"{parked} entries are parked, {added['newer']} were newer"
        run.compare("I1", wrong, parked)
        run.figures["entries of a newer version, parked"] = parked

    with tempfile.TemporaryDirectory() as directory:
        back = _COMMITS_BACK[run.seed % len(_COMMITS_BACK)]
        try:
            commit = _older(back, Path(directory))
        except (OSError, subprocess.CalledProcessError):
            commit = ""  # no git, or a clone without its history
        second = {"PYTHONPATH": directory} if commit else {}
        strikes = {"newer entries": newer, "from ours to the older": to_older, "from the older to ours": to_ours}
        run_strikes(run, seconds, strikes, Kind(second=second), at_end=compare)
    run.kind += f", the second aggregators are of {commit}, {back} commits ago" if commit else ", no older release"
