from processors.gateway.sources import Sources
from schemas.metrics import MAX_SOURCES
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
