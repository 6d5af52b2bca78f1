"""What both halves do alike: each test runs over the federation half and over the memory half."""

from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec
import pytest

from processors.gateway.memory import Memory
from processors.gateway.mesh import Mesh
from processors.gateway.sources import Sources
from schemas.metrics import SOURCE_TIMEOUT_MS, Origin
from tests.gateway.support import NOW, hold, memory_summary, source, summary


class Case(NamedTuple):
    """A half, what it hears, its summary's maker, and one of its values."""

    half: Any
    sources: Sources
    make: Callable[..., Any]
    value: str

    def hear(self, *groups: str, at: int = NOW) -> None:
        for group in groups or self.half.groups:
            self.sources.hear(at, source(group))

    def states(self, now: int) -> tuple[Origin, Origin, Origin]:
        """Of its first group, its second, and the whole."""
        shown = self.half.view(now).summary
        first, second = self.half.groups
        return getattr(shown, first).source, getattr(shown, second).source, shown.source


@pytest.fixture(params=["federation", "memory"])
def case(request: pytest.FixtureRequest) -> Case:
    sources = Sources()
    if request.param == "federation":
        return Case(Mesh(16, sources), sources, summary, "network_health")
    return Case(Memory(sources), sources, memory_summary, "ingestion_rate")


def test_before_the_first_summary_nothing_is_known_and_that_is_stale(case: Case) -> None:
    view = case.half.view(NOW)
    assert (view.summary, view.source, view.as_of) == (None, "stale", None)
    assert set(case.half.origins(view).values()) == {"stale"}


def test_a_summary_of_sources_that_are_heard_is_shown_as_it_is(case: Case) -> None:
    case.hear()
    held = case.make()
    hold(case.half, held)
    assert case.half.view(NOW).summary is held


def test_fifteen_seconds_of_silence_make_a_live_group_stale(case: Case) -> None:
    case.hear()
    hold(case.half, case.make())
    assert case.states(NOW + SOURCE_TIMEOUT_MS - 1) == ("live", "live", "live")
    assert case.states(NOW + SOURCE_TIMEOUT_MS) == ("stale", "stale", "stale")


def test_only_the_group_whose_collector_is_silent_becomes_stale(case: Case) -> None:
    case.hear()
    case.hear(case.half.groups[1], at=NOW + 9_000)
    hold(case.half, case.make(ts=NOW + 9_000))
    assert case.states(NOW + SOURCE_TIMEOUT_MS) == ("stale", "live", "stale")
    assert case.half.origins(case.half.view(NOW + SOURCE_TIMEOUT_MS)) == dict(
        zip(case.half.groups, ["stale", "live"], strict=True)
    )


def test_heartbeats_do_not_keep_a_summary_live_that_no_aggregator_renews(case: Case) -> None:
    case.hear(at=NOW + 10_000)
    hold(case.half, case.make(ts=NOW))
    assert case.states(NOW + SOURCE_TIMEOUT_MS - 1) == ("live", "live", "live")
    assert case.states(NOW + SOURCE_TIMEOUT_MS) == ("stale", "stale", "stale")


def test_the_simulators_heartbeat_does_not_keep_a_live_group_live(case: Case) -> None:
    case.hear(case.half.name)
    hold(case.half, case.make())
    assert case.states(NOW) == ("stale", "stale", "stale")


def test_peers_of_another_service_stay_live_while_that_is_heard_of() -> None:
    sources = Sources()
    mesh = Mesh(16, sources)
    for group in ("discovery", "sync"):
        sources.hear(NOW, source(group))
    hold(mesh, summary())
    assert mesh.view(NOW + SOURCE_TIMEOUT_MS - 1).source == "live"
    assert mesh.view(NOW + SOURCE_TIMEOUT_MS).doubts == ((None, "peers"), (None, "sync"))


def test_a_stale_group_keeps_its_moment(case: Case) -> None:
    case.hear()
    hold(case.half, case.make(ts=NOW - 500))
    shown = case.half.view(NOW + 60_000).summary
    assert (getattr(shown, case.half.groups[0]).as_of, shown.as_of) == (NOW - 500, NOW - 500)


def test_a_lost_bus_makes_live_groups_stale_at_once(case: Case) -> None:
    case.hear()
    hold(case.half, case.make())
    case.half.doubt()
    assert case.states(NOW) == ("stale", "stale", "stale")


def test_simulated_values_stay_simulated_whatever_is_lost(case: Case) -> None:
    hold(case.half, case.make("simulated", "simulated"))
    case.half.doubt()
    assert case.states(NOW + 60_000) == ("simulated", "simulated", "simulated")


def test_a_bus_that_comes_back_with_heartbeats_is_live_again(case: Case) -> None:
    hold(case.half, case.make())
    case.half.doubt()
    case.hear()
    hold(case.half, case.make(n=2))
    assert case.states(NOW) == ("live", "live", "live")


def test_values_stay_when_they_become_stale(case: Case) -> None:
    hold(case.half, case.make(**{case.value: 75.0}))
    assert getattr(case.half.view(NOW).summary, case.value) == 75.0


def test_the_next_deadline_is_when_the_first_live_group_falls_silent(case: Case) -> None:
    case.hear(case.half.groups[0])
    case.hear(case.half.groups[1], at=NOW + 2_000)
    hold(case.half, case.make(ts=NOW + 2_000))
    assert case.half.next_deadline(NOW) == NOW + SOURCE_TIMEOUT_MS


def test_a_deadline_that_was_told_is_not_told_again(case: Case) -> None:
    case.hear(case.half.groups[0])
    case.hear(case.half.groups[1], at=NOW + 2_000)
    hold(case.half, case.make(ts=NOW + 2_000))
    assert case.half.next_deadline(NOW + SOURCE_TIMEOUT_MS) == NOW + 2_000 + SOURCE_TIMEOUT_MS


@pytest.mark.parametrize("origin", ["simulated", "stale"])
def test_without_a_live_group_there_is_no_deadline(case: Case, origin: Origin) -> None:
    case.hear()
    hold(case.half, case.make(origin, origin))
    assert case.half.next_deadline(NOW) is None


def test_a_view_names_what_it_doubts(case: Case) -> None:
    case.hear(case.half.groups[0])
    hold(case.half, case.make())
    assert case.half.view(NOW).doubts == ((None, case.half.groups[1]),)


def test_the_held_summary_itself_is_never_changed(case: Case) -> None:
    held = case.make()
    before = msgspec.json.encode(held)
    hold(case.half, held)
    case.half.view(NOW + 60_000)
    assert msgspec.json.encode(held) == before
