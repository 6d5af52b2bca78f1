import pytest

from processors.federation.errors import Refused
from processors.federation.gate import MAX_ADDRESSES, MAX_AT_ONCE, MAX_AT_ONCE_OF_ONE, Gate


def refusal(gate: Gate, address: str, now: int) -> tuple[int, str]:
    with pytest.raises(Refused) as error:
        gate.enter(address, now)
    return error.value.status, str(error.value)


def pass_through(gate: Gate, address: str, now: int) -> None:
    gate.enter(address, now)
    gate.leave(address)


def test_an_address_that_sends_too_many_within_a_window_waits_for_the_next_one() -> None:
    gate = Gate(most=3)
    for now in (5_000, 5_100, 9_999):
        pass_through(gate, "a", now)
    assert refusal(gate, "a", 9_999) == (429, "more than 3 manifests in 5 s from this address")
    pass_through(gate, "b", 9_999)
    pass_through(gate, "a", 10_000)


def test_an_address_has_no_more_than_its_share_under_way() -> None:
    gate = Gate()
    for _ in range(MAX_AT_ONCE_OF_ONE):
        gate.enter("a", 0)
    assert refusal(gate, "a", 0) == (429, "more than 128 manifests at once from this address")
    gate.leave("a")
    gate.enter("a", 0)


def test_all_together_have_a_bound_under_way() -> None:
    gate = Gate()
    for number in range(MAX_AT_ONCE):
        gate.enter(f"a{number}", 0)
    assert refusal(gate, "b", 0) == (503, "too many manifests at once")
    gate.leave("a0")
    gate.enter("b", 0)


def test_addresses_that_are_counted_have_a_bound() -> None:
    gate = Gate()
    for number in range(MAX_ADDRESSES):
        pass_through(gate, f"a{number}", 0)
    assert refusal(gate, "b", 0) == (503, "too many manifests at once")
    pass_through(gate, "a0", 0)
    pass_through(gate, "b", 5_000)
