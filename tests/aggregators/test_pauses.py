"""An observer that was paused does not declare the network dead, and finds who died all the same."""

import pytest

from processors.aggregators.partition import Partition
from processors.aggregators.watch import Watch
from schemas import codec
from schemas.events import Heartbeat
from schemas.metrics import SourceState
from tests.aggregators.support import START, commit, entry, settle

LIVE = SourceState(node="n", collector="peers", group="peers", state="live", since=START)
STALE = SourceState(node="n", collector="peers", group="peers", state="stale", since=START)
PEERS = ("a", "b", "c")


class Observed:
    """A partition whose three peers send a heartbeat every second, and whose collector a word every five."""

    def __init__(self) -> None:
        self.watch = Watch()
        self.partition = Partition("0", START, 1, self.watch)
        self.state: dict[str, bytes] = {}
        self.roster: dict[str, bytes] = {}

    def beat(self, now: int, *peers: str) -> None:
        self.partition.fold(f"{now}-0", entry(*(Heartbeat(peer=peer, ts=now) for peer in peers)), now)
        self.look(now)

    def run(self, begin: int, end: int, *peers: str) -> None:
        for now in range(begin, end, 1_000):
            if (now - begin) % 5_000 == 0:
                self.watch.hear(now, LIVE)
                self.look(now)
            self.beat(now, *peers)

    def look(self, now: int) -> None:
        """Let time act, and nobody go offline by it unless it is asked for."""
        settle(self.partition, now)
        if self.partition.needs_commit():
            commit(self.partition, self.state, self.roster, now)

    def offline(self) -> set[str]:
        return {name for name, row in self.roster.items() if codec.decode_peer(row).status == "offline"}


@pytest.mark.parametrize("pause_ms", [8_000, 12_000, 20_000, 3_600_000])
@pytest.mark.parametrize("word_first", [True, False], ids=["its word first", "its news first"])
def test_a_collector_that_was_paused_declares_nobody_offline_and_finds_who_died_meanwhile(
    pause_ms: int, *, word_first: bool
) -> None:
    observed = Observed()
    observed.run(START, START + 31_000, *PEERS)
    back = START + 30_000 + pause_ms
    if word_first:
        observed.watch.hear(back, LIVE)
        observed.look(back)
    # Its news come in several entries: one peer is heard of before the others.
    observed.beat(back + 100, "a")
    assert observed.offline() == set()
    observed.watch.hear(back + 200, LIVE)
    observed.look(back + 200)
    observed.beat(back + 300, "b")
    assert observed.offline() == set()
    # The third died while nobody was there to hear.
    observed.run(back + 1_000, back + 12_000, "a", "b")
    assert observed.offline() == {"c"}


def test_a_source_that_was_away_declares_nobody_offline_and_finds_who_died_meanwhile() -> None:
    observed = Observed()
    observed.run(START, START + 31_000, *PEERS)
    observed.watch.hear(START + 31_000, STALE)
    back = START + 600_000
    observed.look(back)
    observed.watch.hear(back, LIVE)
    observed.look(back)
    observed.beat(back + 100, "a")
    observed.beat(back + 200, "b")
    assert observed.offline() == set()
    observed.run(back + 1_000, back + 12_000, "a", "b")
    assert observed.offline() == {"c"}


def test_an_owner_that_was_paused_with_its_collector_declares_nobody_offline() -> None:
    observed = Observed()
    observed.run(START, START + 31_000, *PEERS)
    back = START + 90_000
    # Its timer is due before it has read anything.
    observed.look(back)
    assert observed.offline() == set()
    observed.watch.hear(back, LIVE)
    observed.look(back + 100)
    assert observed.offline() == set()


def test_what_an_owner_knows_is_the_same_whether_or_not_it_was_paused() -> None:
    on_time, paused = Observed(), Observed()
    for observed in (on_time, paused):
        observed.run(START, START + 31_000, *PEERS)
    on_time.run(START + 35_000, START + 95_000, *PEERS)
    for now in range(START + 35_000, START + 95_000, 1_000):
        if (now - START) % 5_000 == 0:
            paused.watch.hear(now, LIVE)
        paused.partition.fold(f"{now}-0", entry(*(Heartbeat(peer=peer, ts=now) for peer in PEERS)), now)
    paused.look(START + 94_000)
    assert {name: paused.state[f"peer:{name}"] for name in PEERS} == {
        name: on_time.state[f"peer:{name}"] for name in PEERS
    }
    assert paused.offline() == set()
