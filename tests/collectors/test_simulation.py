import random

from processors.collectors.simulation import Simulation
from schemas import codec
from schemas.events import MAX_BATCH_EVENTS, Event, Heartbeat, SyncIn, SyncOut

NOW = 1_700_000_000_000
HOUR = 3_600_000


def play(seed: int, length: int) -> list[Event]:
    simulation = Simulation(random.Random(seed).random, NOW)
    events: list[Event] = []
    while simulation.next_deadline() <= NOW + length:
        events += simulation.step(simulation.next_deadline())
    return events


def test_the_same_seed_gives_the_same_federation() -> None:
    assert play(3, 60_000) == play(3, 60_000)
    assert play(3, 60_000) != play(4, 60_000)


def test_every_peer_is_there_at_once_and_marked() -> None:
    beats = [event for event in Simulation(random.Random(1).random, NOW).step(NOW) if isinstance(event, Heartbeat)]
    assert len({beat.peer for beat in beats}) == 24
    assert all(beat.peer.startswith("sim-") and (beat.hostname or "").startswith("sim-") for beat in beats)


def test_peers_fall_silent_for_minutes_and_return() -> None:
    last: dict[str, int] = {}
    pauses: list[int] = []
    for event in play(1, HOUR):
        if isinstance(event, Heartbeat):
            pauses.append(event.ts - last.get(event.peer, event.ts))
            last[event.peer] = event.ts
    long = [pause for pause in pauses if pause > 60_000]
    assert 10 < len(long) < 100
    assert max(long) <= 310_000


def test_syncs_mostly_succeed_and_are_told_to_both_ends() -> None:
    events = play(1, HOUR)
    sent = [event for event in events if isinstance(event, SyncOut)]
    assert len(sent) == sum(isinstance(event, SyncIn) for event in events)
    assert 1_000 < len(sent) < 6_000
    assert 0.95 < sum(event.ok is True for event in sent) / len(sent) < 0.99
    assert all(event.sender != event.target for event in sent)


def test_what_it_makes_travels() -> None:
    events = play(2, 60_000)[:MAX_BATCH_EVENTS]
    assert codec.decode_events({b"v": b"1", b"d": codec.encode(events)}).events == events


def test_a_long_pause_is_not_made_up_for() -> None:
    simulation = Simulation(random.Random(1).random, NOW)
    simulation.step(NOW)
    events = simulation.step(NOW + HOUR)
    assert len(events) <= 2 * 25
    assert all(event.ts == NOW + HOUR for event in events)
    assert simulation.next_deadline() > NOW + HOUR
