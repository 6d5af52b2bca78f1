from processors.collectors.agenda import Agenda


def test_things_come_in_the_order_of_their_times_and_then_of_planning() -> None:
    agenda: Agenda[str] = Agenda()
    for due, what in ((20, "third"), (10, "first"), (10, "second")):
        agenda.plan(due, what)
    assert [agenda.take(20) for _ in range(3)] == [(10, "first"), (10, "second"), (20, "third")]


def test_the_deadline_is_that_of_the_next_thing() -> None:
    agenda: Agenda[str] = Agenda()
    agenda.plan(20, "later")
    agenda.plan(10, "sooner")
    assert agenda.next_deadline() == 10


def test_what_was_due_long_ago_happens_now() -> None:
    agenda: Agenda[str] = Agenda()
    agenda.plan(10, "late")
    assert agenda.take(60_000) == (60_000, "late")
