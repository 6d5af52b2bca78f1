from processors.collectors.status import SourceStatus
from schemas.metrics import Group


def make(group: Group = "peers", *, lived: bool = False) -> tuple[SourceStatus, list[tuple[str | None, str]]]:
    changes: list[tuple[str | None, str]] = []
    status = SourceStatus(
        "c", group, node="n", changed=lambda source: changes.append((source.state, source.reason)), lived=lived
    )
    return status, changes


def test_nothing_is_reported_before_the_first_verdict() -> None:
    assert make()[0].report() is None


def test_a_source_that_never_answered_is_down() -> None:
    status, changes = make()
    status.failed(5, "refused")
    assert changes == [("down", "refused")]


def test_a_source_that_answered_is_live_and_then_stale() -> None:
    status, changes = make()
    status.answered(5)
    status.failed(9, "gone")
    assert changes == [("live", ""), ("stale", "gone")]
    report = status.report()
    assert report is not None
    assert (report.since, report.as_of) == (9, 5)


def test_a_source_that_lived_before_this_process_is_stale() -> None:
    status, changes = make(lived=True)
    status.failed(5, "refused")
    assert changes == [("stale", "refused")]


def test_an_answer_of_a_live_source_is_no_change_but_moves_as_of() -> None:
    status, changes = make()
    status.answered(5)
    status.answered(8)
    report = status.report()
    assert report is not None
    assert (len(changes), report.since, report.as_of) == (1, 5, 8)


def test_another_reason_is_a_change_but_the_state_is_as_old() -> None:
    status, changes = make()
    status.failed(5, "refused")
    status.failed(6, "timed out")
    report = status.report()
    assert report is not None
    assert (len(changes), report.since) == (2, 5)


def test_a_stopped_collector_that_was_live_is_stale() -> None:
    status, changes = make()
    status.answered(5)
    status.stopped(6)
    assert changes[-1] == ("stale", "collector stopped")


def test_a_stopped_collector_that_never_was_live_stays_down_with_its_reason() -> None:
    status, changes = make()
    status.failed(5, "refused")
    status.stopped(6)
    assert changes[-1] == ("down", "refused")


def test_a_stopped_simulator_is_down() -> None:
    status, changes = make("federation")
    status.simulating(5)
    status.stopped(6)
    assert changes == [("simulated", ""), ("down", "stopped")]
