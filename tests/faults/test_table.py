"""The table of faults is whole, and its short forms exist."""

import ast
from pathlib import Path

import pytest

from tests.faults.table import FAULTS, Fault

TESTS = Path(__file__).parents[1]
ROWS = [
    "any worker killed, at every step of its commit",
    "paused owner comes back",
    "server killed",
    "server loses its tail",
    "server wiped",
    "server frozen, connections cut",
    "memory full",
    "slow subscriber among a thousand",
    "flood of subscribers, Slowloris",
    "gateway restarted under load",
    "database locked, replaced, corrupt, uncommitted",
    "clock off by an hour",
    "disk full",
    "old and new version side by side",
]


def test_each_row_is_brought_about() -> None:
    assert [fault.row for fault in FAULTS.values()] == [*ROWS, "the page, open while much happens"]


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_each_row_has_a_short_form_that_exists(fault: Fault) -> None:
    assert fault.short
    for each in fault.short:
        file, _, name = each.partition("::")
        tree = ast.parse((TESTS / file).read_text(encoding="utf-8"))
        names = {node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
        assert not name or name in names, each


def test_each_row_is_documented() -> None:
    text = (TESTS.parent / "docs" / "faults.md").read_text(encoding="utf-8")
    assert [fault.name for fault in FAULTS.values() if f"`{fault.name}`" not in text] == []
