"""The laws of the layout, held against the source itself."""

import ast
import importlib
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
MODULES = sorted(path for package in ("schemas", "processors") for path in (ROOT / package).rglob("*.py"))

# Modules that do I/O. Every other module, new ones included, is pure.
SHELLS = {
    "processors.aggregators.checkpoint",
    "processors.aggregators.gatherer",
    "processors.aggregators.merged",
    "processors.aggregators.merger",
    "processors.aggregators.observer",
    "processors.aggregators.owner",
    "processors.aggregators.ownership",
    "processors.aggregators.runner",
    "processors.aggregators.service",
    "processors.collectors.code_reader",
    "processors.collectors.code_scanner",
    "processors.collectors.database",
    "processors.collectors.delivery",
    "processors.collectors.discovery_reader",
    "processors.collectors.folder_watch",
    "processors.collectors.lease",
    "processors.collectors.notifications",
    "processors.collectors.peer_reader",
    "processors.collectors.published_peers",
    "processors.collectors.publisher",
    "processors.collectors.reasoning_reader",
    "processors.collectors.reporter",
    "processors.collectors.service",
    "processors.collectors.simulator",
    "processors.collectors.sync_reader",
    "processors.collectors.table_reader",
    "processors.collectors.table_scan",
    "processors.federation.access",
    "processors.federation.discovery",
    "processors.federation.pins",
    "processors.federation.registrar",
    "processors.federation.registry",
    "processors.federation.server",
    "processors.federation.service",
    "processors.federation.trusted_file",
    "processors.gateway.assets",
    "processors.gateway.fanout",
    "processors.gateway.sse",
    "processors.gateway.past",
    "processors.gateway.player",
    "processors.gateway.progress",
    "processors.gateway.recovery",
    "processors.gateway.hub",
    "processors.gateway.intake",
    "processors.gateway.history",
    "processors.gateway.group",
    "processors.gateway.conversation",
    "processors.gateway.gate",
    "processors.gateway.guard",
    "processors.gateway.handlers",
    "processors.gateway.letters",
    "processors.gateway.login",
    "processors.gateway.metrics",
    "processors.gateway.pipeline",
    "processors.gateway.samples",
    "processors.gateway.server",
    "processors.gateway.service",
    "processors.gateway.silencing",
    "processors.gateway.sockets",
    "processors.gateway.tail",
    "processors.tools.archive",
    "processors.tools.ark_schema",
    "processors.tools.backup",
    "processors.tools.check",
    "processors.tools.counting",
    "processors.tools.capture",
    "processors.tools.databases",
    "processors.tools.dead",
    "processors.tools.mesh",
    "processors.tools.partitions",
    "processors.tools.peer",
    "processors.tools.resting",
    "processors.tools.scanning",
    "processors.tools.seed",
    "processors.tools.status",
    "processors.tools.token",
    "processors.tools.uninstall",
}

# Modules of the runtime that do none.
PURE = {"processors.runtime.errors", "processors.runtime.metrics", "processors.runtime.settings"}

IMPURE = {"asyncio", "time", "os", "random", "socket", "redis", "faststream", "aiohttp", "aiosqlite"}

# Of code: a docstring or a comment more makes the afternoon shorter, not longer. The aim is 7,000; what operators ask
# for (databases of somebody else, seed, check, capture, manifests, discovery, status, dead letters, clusters, backups,
# metrics, traces, a doctor that knows each trouble)
# took more, and each further line needs a reason.
MOST_LINES = 18_700


def name_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports_of(path: Path) -> Iterator[str]:
    """Every module that a file imports, wherever in it."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            yield node.module or ""


def is_shell(name: str) -> bool:
    return name in SHELLS or name.startswith(("processors.runtime", "processors.client")) or name == "processors.cli"


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_schemas_import_only_the_standard_library_msgspec_and_themselves(path: Path) -> None:
    if not name_of(path).startswith("schemas"):
        return
    for module in imports_of(path):
        assert module.split(".")[0] not in {"processors", *IMPURE - {"time", "os", "random", "socket"}}, module


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_a_stage_imports_no_other_stage(path: Path) -> None:
    name = name_of(path)
    stage = name.split(".")[1] if name.count(".") >= 1 else ""
    if not name.startswith("processors.") or stage in {"cli", "runtime"}:
        return
    for module in imports_of(path):
        if module.startswith("processors."):
            assert module.split(".")[1] in {stage, "runtime"}, f"{name} imports {module}"


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_a_pure_module_imports_nothing_that_does_io(path: Path) -> None:
    name = name_of(path)
    if is_shell(name):
        return
    for module in imports_of(path):
        assert module.split(".")[0] not in IMPURE, f"{name} imports {module}"
        assert not is_shell(module) or module in PURE, f"{name} imports the shell {module}"


def test_every_listed_shell_exists_and_does_io() -> None:
    for name in SHELLS:
        path = ROOT / Path(*name.split(".")).with_suffix(".py")
        reached = {module.split(".")[0] for module in imports_of(path)} & {*IMPURE, "pathlib"}
        uses_shells = any(is_shell(module) for module in imports_of(path))
        assert reached or uses_shells, f"{name} is pure: take it off the list"


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_all_names_what_a_module_defines_in_order(path: Path) -> None:
    module = importlib.import_module(name_of(path))
    names = module.__all__
    assert all(hasattr(module, name) for name in names)
    public = {
        node.name
        for node in ast.parse(path.read_text(encoding="utf-8")).body
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and not node.name.startswith("_")
    }
    assert public <= set(names), f"not in __all__: {public - set(names)}"


def code_lines(path: Path) -> int:
    """Lines of a file that are neither blank, nor comment, nor docstring."""
    text = path.read_text(encoding="utf-8")
    lines = {number for number, line in enumerate(text.splitlines(), 1) if line.strip() and line.strip()[0] != "#"}
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            lines -= set(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    return len(lines)


def test_the_whole_stays_small_enough_to_read_in_an_afternoon() -> None:
    assert sum(map(code_lines, MODULES)) <= MOST_LINES


def test_no_module_is_longer_than_450_lines() -> None:
    for path in MODULES:
        assert len(path.read_text(encoding="utf-8").splitlines()) <= 450, path


def test_every_runtime_dependency_is_justified_in_the_documentation() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    text = (ROOT / "docs" / "dependencies.md").read_text(encoding="utf-8")
    for requirement in project["dependencies"]:
        name = re.split(r"[\[<>=;~ ]", requirement)[0]
        assert f"`{name}`" in text, f"docs/dependencies.md says nothing of {name}"


def test_processes_stand_in_the_order_of_the_flow_in_procfile_and_folders() -> None:
    stages = [line.split(":")[0] for line in (ROOT / "Procfile").read_text(encoding="utf-8").splitlines() if line]
    assert stages == ["collectors", "federation", "aggregators", "gateway"]
    assert all((ROOT / "processors" / stage / "service.py").is_file() for stage in stages)
