from typing import Any

import pytest

from processors.gateway.documents import SourcesChannel
from processors.gateway.sources import Sources
from schemas.metrics import MAX_SOURCES, SOURCE_TIMEOUT_MS, Silence
from tests.gateway.support import NOW, source


def test_an_older_word_of_a_collector_does_not_replace_a_newer_one() -> None:
    sources = Sources()
    sources.hear(NOW, source())
    sources.hear(NOW - 5_000, source(state="down"))
    assert [each.state.state for each in sources.by_name()] == ["live"]


def test_collectors_are_bounded_by_forgetting_the_longest_silent() -> None:
    sources = Sources()
    for number in range(MAX_SOURCES + 1):
        sources.hear(NOW + number, source(collector=f"c{number}"))
    names = {each.state.collector for each in sources.by_name()}
    assert len(names) == MAX_SOURCES
    assert "c0" not in names


def test_a_group_was_heard_of_when_the_newest_of_its_collectors_was() -> None:
    sources = Sources()
    sources.hear(NOW + 2, source(collector="one"))
    sources.hear(NOW + 1, source(collector="another"))
    assert sources.newest() == {("node-1", "peers"): NOW + 2, (None, "peers"): NOW + 2}


def test_a_group_is_told_by_node_and_over_all_nodes() -> None:
    sources = Sources()
    sources.hear(NOW, source("code", node="a"))
    sources.hear(NOW + 9, source("code", node="b"))
    assert sources.newest() == {("a", "code"): NOW, ("b", "code"): NOW + 9, (None, "code"): NOW + 9}


def test_what_is_forgotten_has_to_be_heard_again() -> None:
    sources = Sources()
    sources.hear(NOW, source())
    sources.forget()
    assert (sources.newest(), sources.by_name()) == ({}, [])


def test_a_silence_is_told_until_it_ends_and_its_end_is_a_deadline() -> None:
    sources = Sources()
    sources.hear(NOW, source())
    sources.silence({"node-1/peers-collector": Silence(until=NOW + 1_000, reason="new disks")})
    channel = SourcesChannel(sources)
    [told] = channel.cursor(NOW).value.values()
    assert (told["silenced_until"], told["silence_reason"]) == (NOW + 1_000, "new disks")
    assert channel.next_deadline(channel.cursor(NOW)) == NOW + 1_000
    [told] = channel.cursor(NOW + 1_000).value.values()
    assert told.keys().isdisjoint({"silenced_until", "silence_reason"})


@pytest.mark.parametrize(
    ("states", "silenced", "expected"),
    [
        ({"a": "stale"}, "a", True),
        ({"a": "stale", "b": "stale"}, "a", False),
        ({"a": "stale", "b": "stale"}, "ab", True),
        ({"a": "stale", "b": "live"}, "a", True),
        ({"a": "live"}, "a", False),
        ({}, "a", False),
    ],
)
def test_silences_account_for_a_group_if_all_that_fail_are_silenced(
    states: dict[str, Any], silenced: str, expected: bool
) -> None:
    sources = Sources()
    for collector, state in states.items():
        sources.hear(NOW, source(collector=collector, state=state))
    sources.hear(NOW, source("sync", state="down"))
    sources.silence({f"node-1/{collector}": Silence(until=NOW + 60_000) for collector in silenced})
    assert sources.are_silenced(["peers", "discovery"], NOW) is expected
    assert not sources.are_silenced(["peers", "discovery"], NOW + 60_000)


def test_a_silenced_collector_that_is_not_heard_of_any_more_accounts_for_its_group() -> None:
    sources = Sources()
    sources.hear(NOW, source())
    sources.silence({"node-1/peers-collector": Silence(until=NOW + 60_000)})
    assert sources.are_silenced(["peers"], NOW + SOURCE_TIMEOUT_MS)


def test_silences_outlive_what_was_forgotten() -> None:
    sources = Sources()
    assert sources.silence({"node-1/peers": Silence(until=NOW + 1)})
    sources.forget()
    assert not sources.silence({"node-1/peers": Silence(until=NOW + 1)})
    assert list(sources.silences(NOW)) == ["node-1/peers"]
