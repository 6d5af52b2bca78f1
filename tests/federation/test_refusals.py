from processors.federation.refusals import QUIET_MS, Refusals


def test_the_first_refusal_is_told_at_once() -> None:
    assert Refusals().add(401, "invalid signature", 0) == "1 with 401 (invalid signature)"


def test_what_follows_is_told_together_after_a_minute() -> None:
    refusals = Refusals()
    refusals.add(401, "invalid signature", 0)
    assert [refusals.add(400, f"bad {number}", 1) for number in range(1_000)] == [None] * 1_000
    assert refusals.add(401, "invalid signature", QUIET_MS) == (
        "1000 with 400 (bad 999), 1 with 401 (invalid signature)"
    )
    assert refusals.add(401, "invalid signature", QUIET_MS + 1) is None
