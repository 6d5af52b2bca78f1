import msgspec
import pytest

from processors.aggregators.merge import group_state, half_origin
from processors.aggregators.merge_federation import merge_federation, next_deadline
from processors.aggregators.partition import Partition
from schemas import codec
from schemas.events import Event, Heartbeat, SyncOut
from schemas.metrics import SOURCE_TIMEOUT_MS, GroupState, Partial, SourceState

NOW = 1_700_000_000_000

Said = tuple[str, str, str, int]


def heard(*said: Said) -> dict[tuple[str, str], tuple[int, SourceState]]:
    """(collector, group, state, when) of sources; a live one vouches for the moment it spoke."""
    states = {}
    for collector, group, state, when in said:
        as_of = when if state == "live" else None
        states["n", collector] = (
            when,
            msgspec.convert(
                {"node": "n", "collector": collector, "group": group, "state": state, "since": 0, "as_of": as_of},
                SourceState,
            ),
        )
    return states


def partial(name: str, *events: Event, now: int = NOW) -> Partial:
    partition = Partition(name, now, 1)
    partition.fold(f"{now}-0", {b"v": b"1", b"d": codec.encode(list(events))}, now)
    return msgspec.json.decode(partition.collect("e", 1, now).partial, type=Partial)


PEERS: Said = ("peers", "peers", "live", NOW)
SYNC: Said = ("sync_events", "sync", "live", NOW)
DISCOVERY: Said = ("discovery", "discovery", "live", NOW)
NO_DISCOVERY: Said = ("discovery", "discovery", "stale", NOW)
NO_REDIS: Said = ("peers", "peers", "down", NOW)
DEAD_REDIS: Said = ("peers", "peers", "stale", NOW)
SIMULATOR: Said = ("simulator", "federation", "simulated", NOW)


@pytest.mark.parametrize(
    ("said", "origin"),
    [
        ((), "stale"),
        ((PEERS,), "live"),
        ((SYNC,), "live"),
        ((SIMULATOR,), "simulated"),
        ((SIMULATOR, PEERS), "live"),
        ((SIMULATOR, ("peers", "peers", "stale", NOW)), "simulated"),
        ((("peers", "peers", "stale", NOW),), "stale"),
        ((("peers", "peers", "live", NOW - SOURCE_TIMEOUT_MS),), "stale"),
        ((("memory", "memory", "simulated", NOW),), "stale"),
        ((DISCOVERY, SIMULATOR, NO_REDIS), "live"),
        ((NO_DISCOVERY, SIMULATOR, NO_REDIS), "simulated"),
    ],
)
def test_a_live_source_is_believed_before_the_simulation_and_that_before_silence(
    said: tuple[Said, ...], origin: str
) -> None:
    assert half_origin(heard(*said), "federation", ("peers", "sync", "discovery"), NOW) == origin


def test_a_live_group_vouches_for_its_last_word() -> None:
    assert group_state(heard(PEERS), "peers", "live", NOW - 500, NOW + 3_000) == GroupState(source="live", as_of=NOW)


def test_a_group_that_was_not_heard_of_for_fifteen_seconds_is_stale_as_of_its_last_word() -> None:
    later = NOW + SOURCE_TIMEOUT_MS
    assert group_state(heard(PEERS), "peers", "live", None, later) == GroupState(source="stale", as_of=NOW)


def test_live_and_empty_is_zero_peers_and_no_health() -> None:
    summary = merge_federation({"0": partial("0")}, heard(PEERS, SYNC), "e", 1, NOW)
    assert (summary.source, summary.total_peers, summary.sync_rate) == ("live", 0, 0)
    assert summary.network_health is None
    assert summary.avg_latency is None
    assert summary.sync_success_rate is None


def test_what_was_never_known_is_absent() -> None:
    summary = merge_federation({"0": partial("0")}, heard(), "e", 1, NOW)
    assert (summary.source, summary.as_of, summary.total_peers, summary.sync_rate) == ("stale", None, None, None)


def test_values_of_a_failed_source_stay_and_are_marked() -> None:
    known = partial("0", Heartbeat(peer="a", ts=NOW, tier="core", latency_ms=5))
    down = ("peers", "peers", "stale", NOW + 1_000)
    summary = merge_federation({"0": known}, heard(down, SYNC), "e", 1, NOW + 1_000)
    assert (summary.source, summary.peers.source, summary.sync.source) == ("stale", "stale", "live")
    assert (summary.total_peers, summary.peers.as_of, summary.as_of) == (1, NOW, NOW)


@pytest.mark.parametrize(
    ("said", "state"),
    [
        ((PEERS, NO_DISCOVERY), "live"),
        ((DEAD_REDIS, DISCOVERY), "stale"),
        ((NO_REDIS, DISCOVERY), "live"),
        ((NO_REDIS, NO_DISCOVERY), "stale"),
        ((DISCOVERY,), "live"),
        ((NO_REDIS,), "stale"),
    ],
)
def test_the_peers_are_as_true_as_our_own_redis_is_and_only_without_one_as_another_service(
    said: tuple[Said, ...], state: str
) -> None:
    summary = merge_federation({"0": partial("0")}, heard(*said, SYNC), "e", 1, NOW)
    assert summary.peers.source == state


def test_a_redis_that_stands_by_for_another_node_has_answered() -> None:
    waiting = msgspec.structs.replace(heard(NO_REDIS)["n", "peers"][1], as_of=NOW - 1_000)
    said = heard(DISCOVERY) | {("n", "peers"): (NOW, waiting)}
    assert merge_federation({"0": partial("0")}, said, "e", 1, NOW).peers.source == "stale"


def test_peers_of_another_service_are_known_where_redis_never_answered() -> None:
    known = partial("0", Heartbeat(peer="a", ts=NOW, learnt_from="other:9001"))
    summary = merge_federation({"0": known}, heard(NO_REDIS, DISCOVERY), "e", 1, NOW)
    assert (summary.total_peers, summary.peers.source, summary.sync_rate) == (1, "live", None)


def test_simulated_values_are_never_mixed_with_live_ones() -> None:
    partials = {
        "0": partial("0", Heartbeat(peer="a", ts=NOW)),
        "sim": partial("sim", Heartbeat(peer="sim-a", ts=NOW), Heartbeat(peer="sim-b", ts=NOW)),
    }
    simulated = merge_federation(partials, heard(SIMULATOR), "e", 1, NOW)
    live = merge_federation(partials, heard(SIMULATOR, PEERS), "e", 1, NOW)
    assert (simulated.source, simulated.total_peers, list(simulated.partials)) == ("simulated", 2, ["sim"])
    assert (live.peers.source, live.total_peers, list(live.partials)) == ("live", 1, ["0"])


def test_rates_decay_at_the_deadlines_and_only_there() -> None:
    known = {"0": partial("0", SyncOut(ts=NOW, sender="a", target="b", bytes=60, ok=True))}
    said = heard(SYNC)
    changes = []
    now: int | None = NOW
    while now is not None and now < NOW + 70_000:
        fresh = {key: (now, state) for key, (_, state) in said.items()}
        summary = merge_federation(known, fresh, "e", 1, now)
        changes.append((now - NOW, summary.active_syncs, summary.sync_rate, summary.sync_bytes_rate))
        now = next_deadline(known, {}, now)
    assert changes == [(0, 1, 1 / 60, 1), (10_999, 0, 1 / 60, 1), (60_999, 0, 0, 0)]


def test_a_source_that_may_fall_silent_is_a_deadline() -> None:
    assert next_deadline({}, heard(PEERS), NOW) == NOW + SOURCE_TIMEOUT_MS
    assert next_deadline({}, {}, NOW) is None
