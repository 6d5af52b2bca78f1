from processors.gateway.memory import Memory
from processors.gateway.sources import Sources
from schemas.metrics import SOURCE_TIMEOUT_MS, MemorySummary, NodeSummary
from tests.gateway.support import NOW, hold, memory_summary, node, source


def two_nodes() -> tuple[Memory, Sources]:
    """Two live nodes; of `a` nothing is heard after NOW, of `b` nothing after NOW + 9 s."""
    sources = Sources()
    for name, at in (("a", NOW), ("b", NOW + 9_000)):
        for group in ("reasoning", "code"):
            sources.hear(at, source(group, node=name))
    memory = Memory(sources)
    nodes = {"a": node(sessions_total=3), "b": node(ts=NOW + 9_000)}
    hold(memory, memory_summary(ts=NOW + 9_000, nodes=nodes, nodes_total=2))
    return memory, sources


def shown(memory: Memory, now: int) -> MemorySummary:
    summary = memory.view(now).summary
    assert summary is not None
    return summary


def states(summary: NodeSummary) -> tuple[str, str, str]:
    return summary.reasoning.source, summary.code.source, summary.source


def test_a_node_that_falls_silent_is_stale_beside_one_that_is_heard() -> None:
    memory, _ = two_nodes()
    summary = shown(memory, NOW + SOURCE_TIMEOUT_MS)
    assert states(summary.nodes["a"]) == ("stale", "stale", "stale")
    assert states(summary.nodes["b"]) == ("live", "live", "live")


def test_all_nodes_together_are_as_good_as_the_worst_of_them() -> None:
    memory, sources = two_nodes()
    sources.hear(NOW + 1_000, source("code", node="a"))
    before, after = shown(memory, NOW + SOURCE_TIMEOUT_MS - 1), shown(memory, NOW + SOURCE_TIMEOUT_MS)
    assert (before.reasoning.source, before.code.source, before.source) == ("live", "live", "live")
    assert (after.reasoning.source, after.code.source, after.source) == ("stale", "live", "stale")


def test_only_the_group_of_a_node_that_is_silent_becomes_stale() -> None:
    memory, sources = two_nodes()
    sources.hear(NOW + 1_000, source("code", node="a"))
    summary = shown(memory, NOW + SOURCE_TIMEOUT_MS)
    assert states(summary.nodes["a"]) == ("stale", "live", "stale")


def test_a_stale_node_keeps_its_values_and_its_moment() -> None:
    memory, _ = two_nodes()
    stale = shown(memory, NOW + SOURCE_TIMEOUT_MS).nodes["a"]
    assert (stale.sessions_total, stale.reasoning.as_of, stale.seen) == (3, NOW, NOW)


def test_the_next_deadline_is_when_the_first_node_falls_silent() -> None:
    memory, _ = two_nodes()
    assert memory.next_deadline(NOW) == NOW + SOURCE_TIMEOUT_MS


def test_a_lost_bus_makes_every_node_stale() -> None:
    memory, _ = two_nodes()
    memory.doubt()
    assert {each.source for each in shown(memory, NOW).nodes.values()} == {"stale"}


def test_a_view_names_the_nodes_that_it_doubts() -> None:
    memory, _ = two_nodes()
    assert memory.view(NOW + SOURCE_TIMEOUT_MS).doubts == (("a", "reasoning"), ("a", "code"))
