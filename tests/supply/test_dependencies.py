"""What is installed is what is pinned, and what is needed is explained."""

import re
from typing import Final

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.supply.installed import PROJECT, ROOT, SHIPPED, closure, licence_of, needed

EXPLAINED: Final = (ROOT / "docs" / "dependencies.md").read_text(encoding="utf-8")


def pins_of(name: str) -> dict[str, str]:
    """The pins of a file in deploy/: normal name to version. Each line is one, but for comments."""
    lines = (ROOT / "deploy" / name).read_text(encoding="utf-8").splitlines()
    pairs = [line.split("==") for line in lines if not line.startswith("#")]
    pins = {str(canonicalize_name(package)): version for package, version in pairs}
    assert len(pins) == len(pairs), "something is pinned twice"
    return pins


def test_all_that_the_project_brings_is_pinned_at_what_is_installed_and_nothing_else_is() -> None:
    pins, brought = pins_of("constraints.txt"), closure(needed("dev", *SHIPPED))
    assert {name: pins.get(name) for name in brought} == brought
    # The first Python that will do needs more.
    assert pins.keys() == brought.keys() | closure(needed("dev", *SHIPPED), "3.11.0").keys()


def test_what_builds_it_is_pinned() -> None:
    assert all(re.fullmatch(r"\w+==[\w.]+", each) for each in PROJECT["build-system"]["requires"])


def test_the_tools_of_the_supply_chain_are_pinned_and_no_pin_of_theirs_is_another_than_ours() -> None:
    tools, own = pins_of("supply-requirements.txt"), pins_of("constraints.txt")
    assert {"pip-audit", "cyclonedx-bom"} <= tools.keys()
    assert {name: version for name, version in tools.items() if own.get(name, version) != version} == {}


@pytest.mark.parametrize("requirement", needed(*SHIPPED), ids=lambda each: each.name)
def test_what_is_shipped_upon_is_explained_with_its_range_and_licence(requirement: Requirement) -> None:
    row = f"| `{requirement.name}` | `{requirement.specifier}` | {licence_of(requirement.name)} | "
    assert any(line.startswith(row) for line in EXPLAINED.splitlines()), f"docs/dependencies.md lacks: {row}"


def test_what_is_explained_is_shipped_upon() -> None:
    explained = re.findall(r"^\| `([\w-]+)` \|", EXPLAINED, re.MULTILINE)
    assert sorted(explained) == sorted(each.name for each in needed(*SHIPPED))


def test_the_tools_of_tests_are_named() -> None:
    assert [each.name for each in needed("dev") if f"`{each.name}`" not in EXPLAINED] == []
