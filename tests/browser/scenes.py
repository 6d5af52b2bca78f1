"""What several tests of the page have a world say."""

from typing import Any, Final

from schemas import codec, streams
from schemas.metrics import DeadLetter
from tests.gateway.support import World, log, node, row, source, sync

__all__ = ["EVIL", "MEMORY", "ROUTES", "furnish", "remember", "report", "simulate"]

ROUTES: Final = ("#/federation", "#/peers/p1", "#/memory", "#/sources")
"""One of each view, in a furnished world."""

EVIL: Final = """<img src=x onerror="document.title='owned'">&amp;"""
"""Markup where a text is expected."""

MEMORY: Final[dict[str, Any]] = {
    "ingestion_rate": 0.25,
    "consolidation_rate": 1.5,
    "dedup_rate": 62.5,
    "quarantine_count": 17,
    "trust_distribution": {"core": 3, "sandbox": 1},
    "confidence_deltas": (0.25, -0.5, 0.125),
    "logs": (log("critic: confidence 0.42, why", severity="warning"), log("planner: confidence 0.91, how")),
    "sessions_total": 1_284,
    "stages_total": 5_531,
    "consolidated_total": 3_310,
    "nodes_total": 2,
}


async def simulate(world: World) -> None:
    """A simulated federation of one peer."""
    await world.roster({"sim-1": row("sim-1", hostname="sim-alpha", tier="core", latency_ms=9.5)}, streams.SIMULATED)
    await world.summary("simulated", "simulated", total_peers=1, online_peers=1, network_health=100.0)


async def remember(world: World, **values: Any) -> None:
    """A live memory half with `MEMORY`, and other values."""
    await world.heartbeat("reasoning", "code")
    await world.memory(**MEMORY | values)


async def report(world: World, collector: str = "peers", **values: Any) -> None:
    """What a collector says of its source."""
    now = await world.now()
    body = codec.encode(source(**{"collector": collector, "since": now, "as_of": now} | values))
    await world.client.xadd(streams.SOURCES, codec.entry_fields("source", now, body))  # type: ignore[arg-type]


async def furnish(world: World, peers: int = 12) -> None:
    """Something of everything that the page can show, of every kind."""
    tiers, statuses = ("core", "trusted", "verified", "sandbox"), ("online", "syncing", "offline")
    rows = {
        f"p{n}": row(
            f"p{n}", hostname=f"host-{n}", tier=tiers[n % 4], status=statuses[n % 3], latency_ms=8.0 + n,
            suspicion=n / peers, last_seen=await world.now(), data_shared=1000 * n,
        )
        for n in range(peers)
    }  # fmt: skip
    await world.roster(rows)
    await report(world, published=1_234, detail="keeps up")
    await report(world, "sync_events", group="sync", state="stale", reason="Connection refused", rejected=3)
    await report(world, "reasoning", group="reasoning")
    await report(world, "code_memory", group="code")
    await report(world, "simulator", group="federation", state="simulated")
    await report(world, "memory_simulator", group="memory", state="down", as_of=None)
    for n in range(6):
        await world.sync(sync(f"p{n}", target="p6", ts=await world.now(), ok=n != 3))
    await world.summary(
        "live", "stale", network_health=66.7, data_integrity=81.5, total_peers=peers, online_peers=8, avg_latency=14.0,
        latency_p50=13.0, latency_p95=19.0, latency_p99=20.0, sync_rate=2.5, sync_bytes_rate=4e4, active_syncs=3,
    )  # fmt: skip
    await world.memory(nodes={"node-1": node(ingestion_rate=0.25), "node-2": node("stale", "stale")}, **MEMORY)
    for n, severity in enumerate(("info", "warning", "consolidation")):
        await world.log(log(f"agent: confidence 0.{4 + n}, what", severity=severity, id=n + 1, ts=await world.now()))
    letter = codec.encode(DeadLetter(ts=1, rejected_by="peers", reason="no text", excerpt="{}", whole=True))
    await world.client.xadd(streams.DEAD, codec.entry_fields("dead", 1, letter))  # type: ignore[arg-type]
