import math

import pytest

from processors.tools.comparison import (
    Comparison,
    Count,
    Newest,
    PeerView,
    Published,
    Row,
    Span,
    exactly,
    federation_values,
    in_window,
    memory_values,
    peer_problem,
    rate,
    success,
)
from processors.tools.report import as_json, as_lines, is_good
from schemas.metrics import GroupState, MemoryRecord, MemorySummary, NodeSummary
from tests.gateway.support import summary

NOW = 1_700_000_000_000
HOUR_MS = 3_600_000
PEER = PeerView("host", "core", 12.5, NOW)
ROW = PEER._replace(status="online", learnt_from="redis")


def compare(counted: Span | Newest | None, *published: Published) -> Row:
    """What becomes of one value: the first is published before the count, the others after it."""
    comparison = Comparison()
    comparison.see({"value": published[0]})
    comparison.count({"value": Count(counted)})
    for value in published[1:]:
        comparison.see({"value": value})
    [row] = comparison.rows()
    return row


def test_what_was_published_before_the_count_agrees_if_it_is_equal() -> None:
    assert compare(exactly(7), 7).verdict == "agrees"


def test_what_is_published_later_agrees_and_is_shown() -> None:
    assert (compare(exactly(7), 5, 6, 7, 8).verdict, compare(exactly(7), 5, 6, 7, 8).published) == ("agrees", 7)


def test_a_stream_that_stands_still_differs() -> None:
    row = compare(exactly(7), 5, 5, 5)
    assert (row.verdict, row.counted, row.published) == ("differs", 7, 5)


def test_a_counter_that_jumps_over_the_count_agrees() -> None:
    assert compare(exactly(7), 5, 9).verdict == "agrees"


def test_a_value_that_never_reaches_the_count_differs() -> None:
    assert compare(exactly(7), 1, 3, 6).verdict == "differs"


def test_a_value_that_was_beyond_the_count_before_differs() -> None:
    assert compare(exactly(7), 8, 9).verdict == "differs"


def test_a_value_that_falls_through_the_count_agrees() -> None:
    assert compare(exactly(7), 9, 6).verdict == "agrees"


@pytest.mark.parametrize(("published", "verdict"), [(50 * (1 + 1e-12), "agrees"), (50 * (1 + 1e-6), "differs")])
def test_floats_are_compared_relatively(published: float, verdict: str) -> None:
    assert compare(exactly(50.0), published).verdict == verdict


@pytest.mark.parametrize(("published", "verdict"), [(2, "agrees"), (3, "agrees"), (4, "agrees"), (1.9, "differs")])
def test_a_span_includes_both_bounds(published: float, verdict: str) -> None:
    assert compare(Span(2, 4), published).verdict == verdict


def test_what_is_unknown_agrees_with_what_is_absent_only() -> None:
    assert [compare(None, value).verdict for value in (None, 0)] == ["agrees", "differs"]


def test_a_number_that_was_counted_differs_from_what_is_absent() -> None:
    assert compare(exactly(0), None).verdict == "differs"


def test_a_number_that_may_be_unknown_agrees_with_what_is_absent() -> None:
    assert compare(Span(0, 100, or_absent=True), None).verdict == "agrees"


def test_a_value_that_becomes_known_did_not_pass_through_what_is_below_it() -> None:
    assert compare(exactly(3), None, 7).verdict == "differs"


def test_a_value_that_agreed_stays_so_when_it_is_counted_again() -> None:
    comparison = Comparison()
    comparison.see({"a": 1.0, "b": 1.0})
    comparison.count({"a": Count(exactly(1)), "b": Count(exactly(2))})
    assert comparison.open() == ["b"]
    comparison.count({"a": Count(exactly(9)), "b": Count(exactly(1))})
    assert {row.name: row.counted for row in comparison.rows()} == {"a": 1, "b": 1}


def test_the_newest_items_agree_if_they_are_equal() -> None:
    assert compare(Newest((1.0, 0.1 + 0.2)), (1.0, 0.3)).verdict == "agrees"


def test_no_items_agree_with_what_is_absent() -> None:
    assert compare(Newest(()), None).verdict == "agrees"


def test_a_list_that_is_jumped_over_agrees() -> None:
    row = compare(Newest((3, 4, 5, 6)), (1, 2, 3, 4), (4, 5, 6, 7))
    assert row.verdict == "agrees"


def test_a_list_that_grows_beyond_the_count_at_once_agrees() -> None:
    assert compare(Newest((1, 2)), (1,), (1, 2, 3)).verdict == "agrees"


def test_a_list_that_stands_still_differs() -> None:
    assert compare(Newest((3, 4, 5, 6)), (1, 2, 3, 4), (1, 2, 3, 4)).verdict == "differs"


def test_a_list_in_another_order_differs() -> None:
    assert compare(Newest((1, 2, 3)), (3, 2, 1)).verdict == "differs"


def test_a_list_that_shares_one_item_only_is_not_jumped_over() -> None:
    assert compare(Newest((4, 9, 9, 7)), (1, 2, 3, 4), (7, 5, 5, 5)).verdict == "differs"


@pytest.mark.parametrize(("published", "verdict"), [((3, 4), "agrees"), ((), "agrees"), ((2, 3), "differs")])
def test_of_a_shared_list_the_newest_of_ours_are_compared(published: tuple[float, ...], verdict: str) -> None:
    assert compare(Newest((1, 2, 3, 4), shared=True), published).verdict == verdict


def test_what_could_not_be_counted_is_not_compared() -> None:
    comparison = Comparison()
    comparison.see({"value": 1})
    comparison.count({"value": Count(failure="ark.db: database is locked")})
    [row] = comparison.rows("published as stale")
    assert (row.verdict, row.reason) == ("not compared", "ark.db: database is locked")


def test_what_differs_carries_the_note_and_the_remark() -> None:
    comparison = Comparison()
    comparison.see({"value": 1})
    comparison.count({"value": Count(exactly(2), "a note")})
    assert comparison.rows("published as stale")[0].reason == "a note; published as stale"


@pytest.mark.parametrize(
    ("ago_ms", "where"),
    [
        (0, "sure"),
        (59_999, "sure"),
        (60_000, "border"),
        (60_999, "border"),
        (61_000, ""),
        (-999, "border"),
        (-1_000, ""),
    ],
)
def test_a_window_includes_its_end_and_has_a_border_of_a_second(ago_ms: int, where: str) -> None:
    sure, border = in_window([(NOW - ago_ms, "event")], NOW, 60_000)
    assert (bool(sure), bool(border)) == (where == "sure", where == "border")


def test_a_rate_spans_what_is_on_the_border() -> None:
    assert rate([1, 1], [1], 60) == Span(2 / 60, 3 / 60)


@pytest.mark.parametrize(
    ("sure", "border", "span"),
    [
        ([True, False], [], Span(50, 50)),
        ([None], [None], None),
        ([], [True], Span(100, 100, or_absent=True)),
        ([True], [False], Span(50, 100)),
        ([False], [True], Span(0, 50)),
    ],
)
def test_the_share_of_successes_spans_what_is_on_the_border(
    sure: list[bool | None], border: list[bool | None], span: Span | None
) -> None:
    assert success(sure, border) == span


def _memory(**values: object) -> MemorySummary:
    state = GroupState(source="live", as_of=NOW)
    node = NodeSummary(source="live", reasoning=state, code=state, seen=NOW, **values)  # type: ignore[arg-type]
    logs = tuple(
        MemoryRecord(ts=NOW, node=name, id=number, severity="info", message="", source="live")
        for name, number in (("n", 1), ("other", 2), ("n", 3))
    )
    return MemorySummary(
        ts=NOW, epoch="e", n=1, source="live", reasoning=state, code=state, partials={}, logs=logs, nodes={"n": node}
    )


def test_the_memory_values_are_those_of_the_node() -> None:
    values = memory_values(_memory(ingestion_rate=0.5, trust_distribution={"core": 2}), "n")
    assert (values["ingestion_rate"], values["dedup_rate"], values["logs"]) == (0.5, None, (1, 3))
    assert (values["trust_distribution.core"], values["trust_distribution.other"]) == (2, 0)


def test_of_a_node_that_is_not_told_everything_is_unknown() -> None:
    assert set(memory_values(_memory(), "m").values()) == {None}


def test_the_federation_values_are_those_of_the_summary() -> None:
    assert federation_values(summary(total_peers=3, sync_rate=0.5))["total_peers"] == 3


def test_a_peer_whose_row_says_the_same_has_no_problem() -> None:
    assert peer_problem("p", PEER, ROW, NOW) is None


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        (ROW._replace(hostname=None), "hostname 'host' is published as None"),
        (ROW._replace(tier="trusted"), "tier 'core' is published as 'trusted'"),
        (ROW._replace(latency_ms=13.0), "latency 12.5 is published as 13.0"),
        (ROW._replace(latency_ms=None), "latency 12.5 is published as None"),
        (ROW._replace(latency_ms=12.5004), None),
        (None, "is not in the roster"),
    ],
)
def test_a_peer_whose_row_says_something_else_is_a_problem(row: PeerView | None, problem: str | None) -> None:
    assert peer_problem("p", PEER, row, NOW) == problem


def test_a_peer_that_says_itself_that_it_was_silent_for_a_day_has_left_the_roster() -> None:
    assert peer_problem("p", PEER._replace(last_seen=NOW - 24 * HOUR_MS), None, NOW) is None


def test_a_peer_whose_id_has_control_characters_need_not_be_in_the_roster() -> None:
    assert peer_problem("p\n", PEER, None, NOW) is None


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        (ROW._replace(status="offline"), None),
        (ROW, "is published as online, but its key is gone"),
        (
            ROW._replace(status="offline", last_seen=NOW - HOUR_MS - 2_000),
            "is still in the roster an hour after its last heartbeat",
        ),
        (ROW._replace(learnt_from="other.host:9001"), None),
    ],
)
def test_a_peer_without_a_key_is_kept_for_an_hour_as_offline(row: PeerView, problem: str | None) -> None:
    assert peer_problem("p", None, row, NOW) == problem


ROWS = [
    Row(name="sync_rate", verdict="agrees", counted=0.5, published=0.5),
    Row(name="logs", verdict="differs", counted=(1, 2), published=None, reason="published as stale"),
    Row(name="dedup_rate", verdict="not compared", reason="no such file"),
    Row(name="quarantine_count", verdict="not compared", reason="no such file"),
]


def test_the_text_tells_each_reason_in_one_line_and_ends_with_how_many_differ() -> None:
    lines = as_lines(ROWS, "n")
    assert "not compared: no such file (dedup_rate, quarantine_count)" in lines
    assert "logs: published as stale" in lines
    assert lines[-1] == "1 of 2 compared values differ"


def test_the_text_shows_bounds_and_lists_shortly() -> None:
    comparison = Comparison()
    comparison.see({"rate": 0.5, "logs": (7.0,)})
    comparison.count({"rate": Count(Span(0.25, math.inf)), "logs": Count(Newest((7,)))})
    table = as_lines(comparison.rows(), "n")[2:4]
    assert [" ".join(line.split()) for line in table] == [
        "rate 0.25 to inf 0.5 agrees",
        "logs 1 items, the newest 7 1 items, the newest 7 agrees",
    ]


def test_the_report_says_what_the_polling_backend_shows_instead() -> None:
    rows = [Row(name="ingestion_rate", verdict="agrees", polling="rounded")]
    assert "  ingestion_rate: rounded" in as_lines(rows, "n")


def test_the_report_as_json_has_the_whole_values() -> None:
    assert '"name":"logs","verdict":"differs","counted":[1,2],"published":null' in as_json(ROWS, "n")
    assert '"differ":1' in as_json(ROWS, "n")


@pytest.mark.parametrize(
    ("verdicts", "good"), [(ROWS[:1], True), (ROWS, False), (ROWS[2:], False), (ROWS[:1] + ROWS[2:], True)]
)
def test_a_report_is_good_if_something_was_compared_and_nothing_differs(verdicts: list[Row], good: bool) -> None:
    assert is_good(verdicts) == good


def test_without_anything_compared_the_last_line_says_so() -> None:
    assert as_lines(ROWS[2:], "n")[-1] == "nothing could be compared"
