from pathlib import Path

import pytest

from processors.federation.trust import MAX_LINES, granted, parse_trusted_keys
from tests.federation.support import Node, base64_of

ONE, TWO, OTHER = (Node().pubkey for _ in range(3))
FILE = f"""
# our own
core     {base64_of(ONE)}  ark-node-1
trusted  {base64_of(TWO)}  ark-node-1
trusted  {base64_of(TWO)}  *
  verified {base64_of(ONE)} a node with spaces
"""


@pytest.mark.parametrize(
    ("node_id", "key", "tier"),
    [
        ("ark-node-1", ONE, "core"),
        ("ark-node-1", TWO, "trusted"),
        ("ark-node-1", OTHER, "verified"),
        ("ark-node-2", ONE, "verified"),
        ("ark-node-2", TWO, "trusted"),
        ("a node with spaces", ONE, "verified"),
        ("*", ONE, "verified"),
    ],
    ids=["one", "two", "other", "elsewhere", "anywhere", "spaces", "star"],
)
def test_a_key_may_claim_what_the_file_says_of_it(node_id: str, key: bytes, tier: str) -> None:
    assert parse_trusted_keys(FILE).highest(node_id, key) == tier


def test_a_node_belongs_to_the_keys_that_are_listed_for_it_alone() -> None:
    keys = parse_trusted_keys(FILE)
    assert keys.keys_of("ark-node-1") == {ONE, TWO}
    assert keys.keys_of("ark-node-2") == keys.keys_of("*") == frozenset()


@pytest.mark.parametrize(
    ("claim", "highest", "tier"),
    [
        ("core", "core", "core"),
        ("core", "trusted", "trusted"),
        ("core", "verified", "verified"),
        ("trusted", "verified", "verified"),
        ("trusted", "core", "trusted"),
        ("verified", "core", "verified"),
        (None, "core", "core"),
        (None, "verified", "verified"),
        ("untrusted", "core", "untrusted"),
    ],
)
def test_a_node_gets_the_lower_of_what_it_claims_and_what_it_may(claim: str | None, highest: str, tier: str) -> None:
    assert granted(claim, highest) == tier


@pytest.mark.parametrize(
    ("line", "clause"),
    [
        ("core", "line 2: must be a tier, a key and a node id"),
        (f"core {base64_of(ONE)}", "line 2: must be a tier, a key and a node id"),
        (f"Core {base64_of(ONE)} a", "line 2: tier must be core, trusted or verified"),
        ("core xyz a", "line 2: key must be base64 of 32 bytes"),
        (
            f"core {base64_of(bytes(32))} a",
            "line 2: key must not be a point of small order, nor one in another spelling",
        ),
        (f"core {base64_of(OTHER)} x", "line 2: the key is listed for x already"),
        ("\n" * MAX_LINES, "must have at most 10000 lines"),
    ],
    ids=["no key", "no node", "tier", "not base64", "small order", "listed already", "too long"],
)
def test_a_file_that_cannot_be_used_is_refused_with_its_line(line: str, clause: str) -> None:
    with pytest.raises(ValueError, match=f"^{clause}$"):
        parse_trusted_keys(f"core {base64_of(OTHER)} x\n{line}")


def test_the_documented_file_can_be_used() -> None:
    text = (Path(__file__).parents[2] / "docs" / "federation.md").read_text(encoding="utf-8")
    [example] = [block for block in text.split("```") if block.startswith("text\n# tier")]
    assert len(parse_trusted_keys(example.removeprefix("text")).keys_of("ark-node-1")) == 1
