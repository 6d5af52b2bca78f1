"""What the bill of materials keeps of what the tool tells."""

from typing import Any

import pytest

from tests.supply.installed import closure, needed
from tests.supply.sbom import of_running


def bill(**needs: list[str]) -> dict[str, Any]:
    """The tool's, of packages of version 1 and what they need."""
    return {
        "metadata": {"component": {"bom-ref": "root"}},
        "components": [{"bom-ref": f"{name}==1", "name": name, "version": "1"} for name in needs],
        "dependencies": [
            {"ref": "root", "dependsOn": [f"{name}==1" for name in needs]},
            *({"ref": f"{name}==1", "dependsOn": [f"{each}==1" for each in on]} for name, on in needs.items()),
        ],
    }


def test_what_only_tests_need_is_left_out() -> None:
    whole = bill(aiohttp=["yarl", "pytest"], yarl=[], pytest=["yarl"])
    kept = of_running(whole, {"aiohttp"}, {"aiohttp": "1", "yarl": "1"})
    assert [each["name"] for each in kept["components"]] == ["aiohttp", "yarl"]
    assert kept["dependencies"] == [
        {"ref": "root", "dependsOn": ["aiohttp==1"]},
        {"ref": "aiohttp==1", "dependsOn": ["yarl==1"]},
        {"ref": "yarl==1"},
    ]


@pytest.mark.parametrize("versions", [{"aiohttp": "2"}, {"aiohttp": "1", "yarl": "1"}])
def test_a_bill_that_lacks_something_or_has_another_version_is_refused(versions: dict[str, str]) -> None:
    with pytest.raises(AssertionError):
        of_running(bill(aiohttp=[]), {"aiohttp"}, versions)


def test_what_runs_is_all_that_is_needed_and_no_tool_of_tests() -> None:
    running = closure(needed())
    assert {"faststream", "redis", "msgspec", "aiohttp", "yarl", "anyio"} <= running.keys()
    assert not {"pytest", "mypy", "pip", "setuptools", "ark-pulse"} & running.keys()
