from processors.gateway.tries import MAX_ADDRESSES, MAX_TRIES, WINDOW_S, Tries

WINDOW_MS = WINDOW_S * 1_000


def after(wrong: int, address: str = "a") -> Tries:
    """Tries at 0 ms."""
    tries = Tries()
    for _ in range(wrong):
        assert tries.wait_s(address, 0) == 0
        tries.note_wrong(address)
    return tries


def test_an_address_waits_after_the_last_of_its_tries() -> None:
    assert after(MAX_TRIES - 1).wait_s("a", 0) == 0
    assert after(MAX_TRIES).wait_s("a", 0) == WINDOW_S


def test_it_is_told_how_long_in_whole_seconds() -> None:
    tries = after(MAX_TRIES)
    assert [tries.wait_s("a", now) for now in (1, 1_000, WINDOW_MS - 1, WINDOW_MS)] == [60, 59, 1, 0]


def test_other_addresses_do_not_wait() -> None:
    assert after(MAX_TRIES).wait_s("b", 0) == 0


def test_more_addresses_than_can_be_kept_are_forgotten() -> None:
    tries = after(MAX_TRIES)
    for number in range(MAX_ADDRESSES):
        tries.note_wrong(str(number))
    assert tries.wait_s("a", 1) == 0
