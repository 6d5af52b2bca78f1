"""Each section of docs/troubleshooting.md: its trouble is brought about, and doctor leads there in the words quoted."""

import asyncio
import contextlib
import os
import re
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

import pytest
from redis.asyncio import Redis

from processors.runtime import connection
from processors.runtime.bus import Bus
from processors.runtime.checks.finding import Finding
from processors.runtime.doctor import examine
from processors.runtime.settings import load_settings
from schemas import codec, streams
from schemas.metrics import SourceState
from tests.collectors.helpers import until
from tests.collectors.test_service import serving, until_said
from tests.databases import make_reasoning
from tests.gateway.support import running_gateway
from tests.gateway.test_fanout import fill, is_behind, stuck, tell_until
from tests.integration.aggregation import aggregating
from tests.servers import free_port

ROOT: Final = Path(__file__).parents[2]
DOCUMENT: Final = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
SECTIONS: Final = dict(section.split("\n", 1) for section in DOCUMENT.split("\n## ")[1:])


def anchor(heading: str) -> str:
    """As a page of the repository has it."""
    return re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")


ENTRIES: Final = {anchor(heading): text for heading, text in SECTIONS.items()}


class Scene(NamedTuple):
    """A bus with ARK's Redis on one server, and what doctor is told of both."""

    bus: Bus
    # Of the bus and of ARK's Redis, by a client of database 0.
    url: str
    folder: Path
    patch: pytest.MonkeyPatch

    @property
    def client(self) -> Redis:
        return self.bus.client

    def database(self, number: int) -> str:
        return f"{self.url.rpartition('/')[0]}/{number}"

    async def look(self, **environment: str) -> list[Finding]:
        """What doctor finds; nothing listens on the usual ports."""
        usual = {
            "REDIS_URL": self.url,
            "ARK_BASE_PATH": str(self.folder),
            "ARK_STATE_DIR": str(self.folder),
            "ARK_HTTP_PORT": str(free_port()),
            "FEDERATION_PORT": str(free_port()),
        }
        settings = await asyncio.to_thread(load_settings, usual | environment)
        return await examine(settings, self.url)

    async def look_until(self, entry: str, within_s: float = 30, **environment: str) -> list[Finding]:
        """The same, once something leads to `entry`."""

        async def found() -> list[Finding]:
            findings = await self.look(**environment)
            return findings if any(finding.see.endswith(f"#{entry}") for finding in findings) else []

        findings: list[Finding] = await until(found, within_s)
        return findings


Bring = Callable[[Scene], Awaitable[list[Finding]]]
TROUBLES: Final[dict[str, Bring]] = {}


def brings(entry: str) -> Callable[[Bring], Bring]:
    """What brings `entry` about, and returns what doctor finds then."""

    def note(bring: Bring) -> Bring:
        TROUBLES[entry] = bring
        return bring

    return note


@pytest.fixture
async def scene(bus: Bus, server_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Scene:
    (tmp_path / "data").mkdir()
    return Scene(bus, server_url, tmp_path, monkeypatch)


@contextlib.asynccontextmanager
async def configured(scene: Scene, option: str, value: str | int) -> AsyncIterator[None]:
    before = str((await scene.client.config_get(option))[option])
    await scene.client.config_set(option, value)
    try:
        yield
    finally:
        await scene.client.config_set(option, before)


@contextlib.asynccontextmanager
async def collecting(scene: Scene, **environment: str) -> AsyncIterator[None]:
    """The collectors, in this process."""
    usual = {"REDIS_URL": scene.url, "ARK_BASE_PATH": str(scene.folder), "ARK_STATE_DIR": str(scene.folder)}
    settings = await asyncio.to_thread(load_settings, usual | environment)
    async with serving(scene.bus, settings):
        yield


@brings("it-does-not-run")
async def nothing_runs(scene: Scene) -> list[Finding]:
    await scene.client.delete(streams.PARTITIONS)
    return await scene.look()


@brings("a-port-is-taken")
async def port_taken(scene: Scene) -> list[Finding]:
    async def refuse(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    async with await asyncio.start_server(refuse, "127.0.0.1", 0) as server:
        port = str(server.sockets[0].getsockname()[1])
        return await scene.look(ARK_HTTP_PORT=port, FEDERATION_PORT=port, ARK_METRICS_PORT=port)


@brings("the-bus-does-not-answer")
async def bus_down(scene: Scene) -> list[Finding]:
    settings = await asyncio.to_thread(load_settings, {"ARK_STATE_DIR": str(scene.folder)})
    away = f"redis://127.0.0.1:{free_port()}/0"
    strange = await examine(settings, None, "bus.url is no address")
    return [*await examine(settings, None), *await examine(settings, away), *strange]


@brings("the-server-is-too-old")
async def old_server(scene: Scene) -> list[Finding]:
    """No older server is at hand: the oldest that will do is said to be newer than this one."""
    scene.patch.setattr(connection, "_LEAST_BUS", (99, 0))
    return await scene.look()


@brings("the-bus-may-evict-keys")
async def evicting(scene: Scene) -> list[Finding]:
    async with configured(scene, "maxmemory-policy", "allkeys-lru"):
        return await scene.look()


@brings("the-bus-is-full")
async def nearly_full(scene: Scene) -> list[Finding]:
    used = (await scene.client.info("memory"))["used_memory"]
    async with configured(scene, "maxmemory", used * 10 // 9):
        some = await scene.look()
    async with configured(scene, "maxmemory", used):
        return [*some, *await scene.look()]


@brings("the-bus-keeps-nothing-on-disk")
async def not_kept(scene: Scene) -> list[Finding]:
    async with configured(scene, "appendonly", "no"):
        return await scene.look()


@brings("another-number-of-partitions")
async def other_number(scene: Scene) -> list[Finding]:
    await scene.client.set(streams.PARTITIONS, 8)
    return await scene.look()


@brings("an-unfinished-restore")
async def unfinished(scene: Scene) -> list[Finding]:
    await scene.client.set(streams.PARTITIONS, 0)
    return await scene.look()


@brings("a-partition-stands-still")
async def stuck_partition(scene: Scene) -> list[Finding]:
    nobody = await scene.look()
    await scene.client.hset(streams.state_key("3"), "totals", "no JSON")
    await scene.client.xadd(streams.events_key("3"), {"v": "1", "d": "[]"})
    async with aggregating(scene.url):
        await until(lambda: scene.client.hget(streams.meta_key("4"), "owner"))
        damaged = await scene.look_until("a-partition-stands-still")
    await scene.client.hset(streams.meta_key("3"), "n", "abc")
    return [*nobody, *damaged, *await scene.look()]


@brings("entries-of-a-newer-release")
async def newer(scene: Scene) -> list[Finding]:
    async with aggregating(scene.url):
        body = {"v": "2", "t": "heartbeat", "ts": "0", "d": '{"t":"heartbeat","peer":"a","ts":1}'}
        await scene.client.xadd(streams.events_key("3"), body)  # type: ignore[arg-type]
        return await scene.look_until("entries-of-a-newer-release")


@brings("clocks-differ")
async def skewed(scene: Scene) -> list[Finding]:
    ahead = int(time.time()) + 60
    await scene.client.hset("peer:ark-node-1", mapping={"last_seen": ahead})
    return await scene.look()


@brings("arks-redis-does-not-answer")
async def redis_down(scene: Scene) -> list[Finding]:
    return await scene.look(REDIS_URL=f"redis://127.0.0.1:{free_port()}/0")


@brings("live-but-empty")
async def empty(scene: Scene) -> list[Finding]:
    nothing = await scene.look(REDIS_URL=scene.database(3))
    async with Redis.from_url(scene.database(2)) as other:
        await other.hset("peer:a", "hostname", "a.local")
        return [*nothing, *await scene.look(REDIS_URL=scene.database(3))]


@brings("no-push-from-redis")
async def refused(scene: Scene) -> list[Finding]:
    await scene.client.hset("peer:a", "hostname", "a.local")
    rules = ("on", ">pw", "~*", "&*", "+@all", "-config")
    client: Any = scene.client
    await client.execute_command("ACL SETUSER", "limited", *rules)
    limited = scene.url.replace("redis://", "redis://limited:pw@")
    try:
        alone = [*await scene.look(), *await scene.look(REDIS_URL=limited)]
        async with collecting(scene, REDIS_URL=limited):
            await until_said(scene.bus, peers="live")
            return [*alone, *await scene.look_until("no-push-from-redis", REDIS_URL=limited)]
    finally:
        await scene.client.acl_deluser("limited")


async def told(scene: Scene, words: bytes) -> bool:
    """Whether a collector has said them."""
    entries: Any = await scene.client.xrange(streams.SOURCES)
    return any(words in fields[b"d"] for _, fields in entries)


@brings("a-half-is-simulated")
async def made_up(scene: Scene) -> list[Finding]:
    """By collectors in a process of their own, whose environment is not this shell's, and by some that are here."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ARK_")}
    theirs = {"ARK_BUS_URL": scene.url, "ARK_SIMULATE": "always", "ARK_STATE_DIR": str(scene.folder)}
    command = (str(Path(sys.executable).parent / "ark-pulse"), "run", "collectors")
    process = await asyncio.create_subprocess_exec(*command, env=environment | theirs, stderr=subprocess.DEVNULL)
    try:
        await until(lambda: told(scene, b'"simulated"'), 30)  # a process takes its time to start
        always = await scene.look()
    finally:
        process.terminate()
        await process.wait()
    elsewhere = scene.folder / "elsewhere"
    await asyncio.to_thread(elsewhere.mkdir)
    async with collecting(scene, ARK_BASE_PATH=str(elsewhere), REDIS_URL=f"redis://127.0.0.1:{free_port()}/0"):
        await until_said(scene.bus, simulator="simulated", memory_simulator="simulated")
        path = scene.folder / "data" / "reasoning_logs.db"
        await asyncio.to_thread(lambda: make_reasoning(path).close())
        return [*always, *await scene.look()]


@brings("a-source-is-stale")
async def stale(scene: Scene) -> list[Finding]:
    path = scene.folder / "data" / "reasoning_logs.db"
    await asyncio.to_thread(lambda: make_reasoning(path).close())
    async with collecting(scene):
        await until_said(scene.bus, reasoning="live")
        await asyncio.to_thread(path.unlink)
        return await scene.look_until("a-source-is-stale")


@brings("a-source-never-was-live")
async def never_live(scene: Scene) -> list[Finding]:
    async with collecting(scene):
        await until_said(scene.bus, reasoning="down")
        return await scene.look()


@brings("a-collector-fell-silent")
async def silent(scene: Scene) -> list[Finding]:
    """Its last word came a minute ago, which nobody here waits for."""
    source = SourceState(node="node-1", collector="peers", group="peers", state="live", since=1)
    ago = scene.bus.clock.now_ms() - 60_000
    fields = codec.entry_fields("source", ago, codec.encode(source))
    await scene.client.xadd(streams.SOURCES, fields, id=f"{ago}-1")  # type: ignore[arg-type]
    return await scene.look()


@brings("dead-letters-grow")
async def letters(scene: Scene) -> list[Finding]:
    await scene.client.hset("peer:a", mapping={"hostname": "a.local", "latency": "very low"})
    async with aggregating(scene.url), collecting(scene):
        return await scene.look_until("dead-letters-grow")


@brings("no-federation-service")
async def no_service(scene: Scene) -> list[Finding]:
    return await scene.look()


@brings("the-gateway-is-degraded")
async def degraded(scene: Scene) -> list[Finding]:
    async with running_gateway(scene.bus) as gateway:
        return await scene.look(ARK_HTTP_PORT=gateway.url.rpartition(":")[2])


@brings("slow-clients")
async def slow(scene: Scene) -> list[Finding]:
    async with running_gateway(scene.bus, tail=False) as gateway:
        fill(gateway, scene.bus.clock.now_ms())
        async with stuck(gateway):
            await tell_until(gateway, lambda: is_behind(gateway))
            return await scene.look(ARK_HTTP_PORT=gateway.url.rpartition(":")[2])


@brings("the-tokens-file")
async def open_tokens(scene: Scene) -> list[Finding]:
    path = scene.folder / "tokens"
    found = await scene.look(ARK_TOKENS_FILE=str(path))
    os.mkfifo(scene.folder / "pipe")
    found += await scene.look(ARK_TOKENS_FILE=str(scene.folder / "pipe"))
    for mode in (0o644, 0o666):
        await asyncio.to_thread(path.touch)
        await asyncio.to_thread(path.chmod, mode)
        found += await scene.look(ARK_TOKENS_FILE=str(path))
    return found


@brings("the-disk-fills-up")
async def full_disk(scene: Scene) -> list[Finding]:
    """No disk is filled: what is told of it is another's."""
    real = shutil.disk_usage(scene.folder)
    found = []
    for free in (1_433 << 20, 120 << 20):
        scene.patch.setattr(shutil, "disk_usage", lambda _, free=free: real._replace(free=free))
        found += await scene.look()
    return found


@brings("too-few-descriptors")
async def few_descriptors(scene: Scene) -> list[Finding]:
    """A hard limit that is lowered stays so: what is told of it is another's."""
    scene.patch.setattr(resource, "getrlimit", lambda _: (1_024, 4_096))
    return await scene.look()


# What varies: numbers, addresses, paths, the names of processes, sources and servers.
_VARIES: Final = re.compile(
    r"\S*[\d/]\S*|nginx|Redis|Valkey|always|peers|sync|sync_events|reasoning|code|code_memory|memory|federation|\w*simulator"
)


def shown(section: str) -> Iterator[re.Pattern[str]]:
    """The lines of doctor in a section; "..." stands for any words."""
    for block in re.findall(r"```text\n(.*?)```", section, re.DOTALL):
        for line in block.splitlines():
            words = [r"\S+" if _VARIES.fullmatch(word.rstrip(":,")) else re.escape(word) for word in line.split()]
            yield re.compile(" ".join(words).replace(re.escape("..."), ".*"))


def test_every_section_is_one_that_doctor_knows_and_the_other_way_round() -> None:
    sources = [path.read_text(encoding="utf-8") for path in (ROOT / "processors" / "runtime").glob("checks/*.py")]
    sources.append((ROOT / "processors" / "runtime" / "doctor.py").read_text(encoding="utf-8"))
    named = {name for source in sources for name in re.findall(r'"([a-z]+(?:-[a-z]+)+)"', source)}
    assert set(ENTRIES) == named == set(TROUBLES)


@pytest.mark.parametrize("entry", ENTRIES)
async def test_doctor_leads_to_the_section_of_a_trouble_in_the_words_that_it_shows(entry: str, scene: Scene) -> None:
    found = await TROUBLES[entry](scene)
    leading = [finding for finding in found if finding.see == f"docs/troubleshooting.md#{entry}"]
    assert leading
    assert all(finding.advice and finding.level != "ok" for finding in leading)
    lines = list(shown(ENTRIES[entry]))
    for finding in leading:
        mark = "TROUBLE" if finding.level == "trouble" else "warning"
        said = f"{mark} {finding.check}: {finding.text}"
        assert any(line.fullmatch(said) for line in lines), said
