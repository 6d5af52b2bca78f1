from typing import Literal

import pytest

from processors.collectors.activation import FALLBACK_MS, FEDERATION, MEMORY, Activation, Half
from schemas.metrics import SOURCE_TIMEOUT_MS, SourceState


def said(
    state: Literal["live", "stale", "down"],
    since: int = 0,
    group: Literal["peers", "sync", "discovery", "code"] = "peers",
) -> SourceState:
    return SourceState(node="n", collector="c", group=group, state=state, since=since)


def test_always_simulates_and_never_does_not() -> None:
    assert Activation(FEDERATION, "always", ever_live=True, started=0).active(0)
    assert not Activation(FEDERATION, "never", ever_live=False, started=0).active(10**9)


def test_a_first_start_waits_for_the_first_word_of_a_source() -> None:
    activation = Activation(FEDERATION, "auto", ever_live=False, started=0)
    assert not activation.active(10)
    activation.observe(said("down"), 20)
    assert activation.active(20)


def test_a_first_start_without_any_word_simulates_after_four_seconds() -> None:
    activation = Activation(FEDERATION, "auto", ever_live=False, started=1_000)
    assert activation.next_deadline(1_000) == 5_000
    assert not activation.active(4_999)
    assert activation.active(5_000)


def test_a_live_source_ends_the_simulation_for_good() -> None:
    activation = Activation(FEDERATION, "auto", ever_live=False, started=0)
    activation.observe(said("down"), 20)
    activation.observe(said("live"), 30)
    activation.observe(said("stale", since=40), 40)
    assert not activation.active(10**9)
    assert activation.next_deadline(50) is None


def test_a_half_that_was_live_before_is_not_simulated() -> None:
    assert not Activation(FEDERATION, "auto", ever_live=True, started=0).active(10**9)


def test_fallback_simulates_a_source_that_was_away_for_thirty_seconds() -> None:
    activation = Activation(FEDERATION, "fallback", ever_live=True, started=0)
    activation.observe(said("stale", since=1_000), 1_000)
    assert activation.next_deadline(2_000) == 1_000 + FALLBACK_MS
    assert not activation.active(999 + FALLBACK_MS)
    assert activation.active(1_000 + FALLBACK_MS)


def test_fallback_ends_when_the_source_is_live_again() -> None:
    activation = Activation(FEDERATION, "fallback", ever_live=True, started=0)
    activation.observe(said("stale", since=0), 0)
    activation.observe(said("live"), FALLBACK_MS + 5)
    assert not activation.active(FALLBACK_MS + 5)


def test_a_service_that_is_followed_keeps_the_half_from_being_simulated() -> None:
    activation = Activation(FEDERATION, "auto", ever_live=False, started=0)
    activation.observe(said("live", group="discovery"), 10)
    activation.observe(said("down"), 20)
    assert not activation.active(10**9)


@pytest.mark.parametrize(("live", "away"), [("peers", "discovery"), ("discovery", "peers")])
def test_fallback_does_not_simulate_while_one_source_of_the_half_is_live(
    live: Literal["peers", "discovery"], away: Literal["peers", "discovery"]
) -> None:
    activation = Activation(FEDERATION, "fallback", ever_live=True, started=0)
    activation.observe(said("stale", since=0, group=away), 0)
    for now in range(0, 60_001, 5_000):
        activation.observe(said("live", group=live), now)
        assert not activation.active(now)
    activation.observe(said("stale", since=61_000, group=live), 61_000)
    assert activation.next_deadline(61_000) == 61_000 + FALLBACK_MS
    assert activation.active(61_000 + FALLBACK_MS)


def test_fallback_does_not_wait_for_a_live_source_that_fell_silent() -> None:
    activation = Activation(FEDERATION, "fallback", ever_live=True, started=0)
    activation.observe(said("live", group="discovery"), 20_000)
    activation.observe(said("stale", since=0), 25_000)
    assert not activation.active(20_000 + SOURCE_TIMEOUT_MS - 1)
    assert activation.active(20_000 + SOURCE_TIMEOUT_MS)


@pytest.mark.parametrize(("half", "other"), [(FEDERATION, "code"), (MEMORY, "peers")])
@pytest.mark.parametrize("mode", ["auto", "fallback"])
def test_sources_of_the_other_half_do_not_count(mode: str, half: Half, other: Literal["peers", "code"]) -> None:
    activation = Activation(half, mode, ever_live=False, started=0)
    activation.observe(said("live", group=other), 0)
    assert activation.active(10_000)


@pytest.mark.parametrize("half", [FEDERATION, MEMORY])
def test_a_half_that_has_been_live_is_named(half: Half) -> None:
    assert Activation(half, "auto", ever_live=True, started=0).why_not() == f"the {half.name} half has been live"
