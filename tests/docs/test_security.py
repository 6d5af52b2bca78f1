"""SECURITY.md: what it names is there, and each claim is held by a test."""

import ast
import re
from pathlib import Path
from typing import Final

import pytest

from processors.runtime.settings import SETTINGS
from tests.docs.blocks import ROOT

TEXT: Final = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
CLAIMS: Final = [line.strip("| ").split(" | ") for line in TEXT.splitlines() if "::test_" in line]


def functions_of(module: Path) -> set[str]:
    tree = ast.parse(module.read_text(encoding="utf-8"))
    return {each.name for each in tree.body if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef)}


@pytest.mark.parametrize(("claim", "held_by"), CLAIMS, ids=[claim[:40] for claim, _ in CLAIMS])
def test_what_is_said_to_hold_a_claim_is_a_test(claim: str, held_by: str) -> None:
    tests = re.findall(r"`([\w/]+\.py)::(test_\w+)`", held_by)
    assert tests
    assert ", ".join(f"`{module}::{test}`" for module, test in tests) == held_by, claim
    assert [test for module, test in tests if test not in functions_of(ROOT / "tests" / module)] == []


def test_every_claim_of_the_table_names_a_test() -> None:
    table = TEXT.partition("| claim | held by |\n|---|---|\n")[2].partition("\n\n")[0]
    assert len(table.splitlines()) == len(CLAIMS)


def test_every_setting_and_file_that_is_named_exists() -> None:
    settings = {setting.name for setting in SETTINGS}
    assert set(re.findall(r"\b(?:ARK|FEDERATION)_[A-Z_]+\b", TEXT)) <= settings
    assert [link for link in re.findall(r"\]\(([^)#:]+)\)", TEXT) if not (ROOT / link).exists()] == []
