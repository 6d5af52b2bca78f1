from typing import Any

import pytest

from processors.federation.errors import Refused
from processors.federation.manifest import Manifest, read_manifest
from processors.federation.pinning import renewed
from schemas.manifests import Pin
from tests.federation.support import Node, base64_of

NOW = 1_700_000_000_000
ONE, TWO = Node(), Node()
NOBODY: frozenset[bytes] = frozenset()


def manifest(node: Node = ONE, **fields: Any) -> Manifest:
    return read_manifest(node.body(**fields))


def pin(node: Node = ONE, **fields: Any) -> Pin:
    return Pin(key=base64_of(node.pubkey), first_seen=NOW, **fields)


def refusal(before: Pin, after: Manifest, listed: frozenset[bytes] = NOBODY) -> tuple[int, str]:
    with pytest.raises(Refused) as error:
        renewed(before, after, listed, NOW + 1)
    return error.value.status, str(error.value)


def test_the_key_that_comes_first_is_pinned() -> None:
    found = renewed(None, manifest(seq=3, issued_at=NOW), NOBODY, NOW)
    assert found == pin(seq=3, issued_at=NOW)


def test_a_manifest_without_number_and_time_may_come_again() -> None:
    assert renewed(pin(), manifest(), NOBODY, NOW + 1) == pin()


@pytest.mark.parametrize(
    ("before", "fields"),
    [
        ({}, {"seq": 0}),
        ({"seq": 4}, {"seq": 5}),
        ({"issued_at": NOW}, {"issued_at": NOW + 1}),
        ({"issued_at": NOW}, {"issued_at": NOW, "seq": 1}),
        ({"issued_at": NOW, "seq": 1}, {"issued_at": NOW, "seq": 2}),
        ({"seq": 1}, {"issued_at": NOW, "seq": 2}),
    ],
)
def test_a_newer_manifest_is_noted(before: dict[str, Any], fields: dict[str, Any]) -> None:
    assert renewed(pin(**before), manifest(**fields), NOBODY, NOW + 1) == pin(**fields)


@pytest.mark.parametrize(
    ("before", "fields", "clause"),
    [
        ({"seq": 4}, {"seq": 4}, "seq must be above 4"),
        ({"seq": 4}, {"seq": 3}, "seq must be above 4"),
        ({"seq": 0}, {}, "seq is missing, and this node has used it"),
        ({"issued_at": NOW}, {}, "issued_at is missing, and this node has used it"),
        ({"issued_at": NOW}, {"issued_at": NOW}, f"issued_at must be after {NOW}"),
        ({"issued_at": NOW, "seq": 1}, {"issued_at": NOW - 1, "seq": 2}, f"issued_at must not be before {NOW}"),
    ],
)
def test_a_manifest_that_is_not_newer_is_refused(before: dict[str, Any], fields: dict[str, Any], clause: str) -> None:
    assert refusal(pin(**before), manifest(**fields)) == (409, clause)


def test_another_key_than_the_pinned_one_is_refused() -> None:
    assert refusal(pin(ONE), manifest(TWO)) == (403, "node_id is pinned to another pubkey")


def test_another_key_than_the_listed_ones_is_refused() -> None:
    clause = "node_id belongs to a trusted key, and pubkey is another"
    assert refusal(pin(ONE), manifest(ONE), frozenset({TWO.pubkey})) == (403, clause)


def test_a_listed_key_takes_the_id_from_who_came_first_and_forgets_its_numbers() -> None:
    found = renewed(pin(ONE, seq=99), manifest(TWO, seq=1), frozenset({TWO.pubkey}), NOW + 1)
    assert found == Pin(key=base64_of(TWO.pubkey), first_seen=NOW + 1, seq=1)


def test_a_node_that_changes_between_listed_keys_goes_on_counting() -> None:
    listed = frozenset({ONE.pubkey, TWO.pubkey})
    assert renewed(pin(ONE, seq=4), manifest(TWO, seq=5), listed, NOW + 1) == pin(TWO, seq=5)
    assert refusal(pin(ONE, seq=4), manifest(TWO, seq=4), listed) == (409, "seq must be above 4")
