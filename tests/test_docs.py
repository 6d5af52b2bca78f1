"""The references in docs/ against what they describe."""

import re
import shlex
from pathlib import Path

import pytest

from processors.aggregators import memory, partition, sync
from processors.cli import _parser
from processors.gateway.paths import PATHS
from processors.gateway.paths import Path as HttpPath
from processors.runtime.settings import SETTINGS
from schemas import streams
from schemas.frames import CLOSE_CODES, ERRORS
from schemas.metrics import DeadLetter, FederationSummary, MemorySummary, NodeSummary

ROOT = Path(__file__).parent.parent
DOCS = {path.name: path.read_text(encoding="utf-8") for path in (ROOT / "docs").glob("*.md")}


def test_every_close_code_is_explained_as_the_table_has_it() -> None:
    for code in CLOSE_CODES.values():
        assert f"| {code.code} | {code.name} | {code.client_should} |" in DOCS["protocol.md"]


def test_every_error_is_explained_as_the_table_has_it() -> None:
    for error in ERRORS.values():
        assert f"| {error.name} | {error.client_should} |" in DOCS["protocol.md"]


def test_every_stream_of_the_map_is_explained() -> None:
    keys = [value for value in vars(streams).values() if isinstance(value, str) and value.startswith("ark:")]
    keys += [make("p") for make in vars(streams).values() if "_of_partition." in getattr(make, "__qualname__", "")]
    keys += [streams.published_key("p", "<collector>"), streams.lease_key("<collector>")]
    assert [key for key in keys if f"`{key}`" not in DOCS["streams.md"]] == []


@pytest.mark.parametrize("summary", [FederationSummary, MemorySummary, NodeSummary])
def test_every_field_of_the_summaries_is_explained(summary: type[FederationSummary]) -> None:
    text = DOCS["metrics.md"].replace("`_p95`", "`latency_p95`").replace("`_p99`", "`latency_p99`")
    federation, memory = text.split("# Metrics of the memory engines")
    for name in summary.__struct_fields__:
        if name != "ts":
            assert f"`{name}`" in (federation if summary is FederationSummary else memory), name


def test_every_field_of_a_dead_letter_is_explained_and_every_example_is_a_command() -> None:
    text = DOCS["dead-letters.md"]
    assert [name for name in DeadLetter.__struct_fields__ if f"`{name}`" not in text] == []
    examples = re.findall(r"^ark-pulse (dead .*)$", text, re.MULTILINE)
    assert examples
    for example in examples:
        _parser().parse_args(shlex.split(example, comments=True))


@pytest.mark.parametrize("path", PATHS, ids=lambda each: each.path)
def test_every_path_is_explained(path: HttpPath) -> None:
    named = path.path.replace("{", "<").replace("}", ">")
    rows = [line for line in DOCS["protocol.md"].splitlines() if line.startswith("| `/")]
    assert any(f"`{named}`" in row.split(" | ")[0] for row in rows)


@pytest.mark.parametrize("name", ["compose.yaml", "Dockerfile", "nginx/ark-pulse.conf", "caddy/Caddyfile"])
def test_deployment_names_only_settings_that_exist(name: str) -> None:
    text = (ROOT / "deploy" / name).read_text(encoding="utf-8")
    named = set(re.findall(r"\b(?:ARK_[A-Z_]+|REDIS_URL)\b", text))
    assert named
    assert named <= {setting.name for setting in SETTINGS}


def _proxied(name: str) -> re.Pattern[str]:
    """The paths that a proxy's configuration sends to us."""
    text = (ROOT / "deploy" / name).read_text(encoding="utf-8")
    if name == "caddy/Caddyfile":
        (paths,) = re.findall(r"@pulse path (.*)", text)
        return re.compile("|".join(re.escape(path).replace(r"\*", ".*") for path in paths.split()))
    assert "location = /sse {" in text
    (pattern,) = re.findall(r"location ~ (\S+) {", text)
    return re.compile(f"{pattern}|/sse")


@pytest.mark.parametrize("name", ["nginx/ark-pulse.conf", "caddy/Caddyfile"])
def test_a_proxy_sends_us_what_the_page_and_the_clients_need_and_nothing_else(name: str) -> None:
    ours = {path.path for path in PATHS}
    arks = {
        "/docs",
        "/metrics",
        "/openapi.json",
        "/asyncapi.json",
        "/schemas.json",
        "/healthz",
        "/readyz",
        "/api/other",
        "/wsx",
    }
    assert {path for path in ours | arks if not _proxied(name).fullmatch(path)} == arks


def test_every_example_of_access_is_a_command_and_every_setting_exists() -> None:
    examples = re.findall(r"^ark-pulse (token .*)$", DOCS["access.md"], re.MULTILINE)
    assert examples
    for example in examples:
        _parser().parse_args(shlex.split(example, comments=True))
    named = set(re.findall(r"\bARK_[A-Z_]+\b", DOCS["access.md"]))
    assert named <= {setting.name for setting in SETTINGS}


def test_links_between_documents_lead_somewhere() -> None:
    pages = {**{f"docs/{name}": text for name, text in DOCS.items()}, "README.md": (ROOT / "README.md").read_text()}
    for page, text in pages.items():
        for link in re.findall(r"\]\(([^)#:]+)\)", text):
            assert (ROOT / page).parent.joinpath(link).exists(), f"{page} links to {link}"


def test_the_bounds_in_the_reckoning_of_capacity_are_those_of_the_code() -> None:
    bounds = {
        "MAX_WINDOWS": sync.MAX_WINDOWS,
        "MAX_PAIRS": sync.MAX_PAIRS,
        "MAX_DIRTY": partition.MAX_DIRTY,
        "MAX_KEPT": memory.MAX_KEPT,
    }
    for name, bound in bounds.items():
        assert f"`{name}` = {bound:,} " in DOCS["capacity.md"]
