"""Metrics: their families, the text of them, and how it is served."""

import asyncio
import re
import socket
import time
from collections.abc import Iterator
from typing import Any

import aiohttp
import pytest
from prometheus_client.openmetrics import parser
from prometheus_client.parser import text_string_to_metric_families as plain_text

from processors.runtime import registry
from processors.runtime.children import Program
from processors.runtime.errors import SettingsError
from processors.runtime.exposition import ExpositionServer, expose
from processors.runtime.metrics import BOUNDS_S, Family, Histogram, counter, gauge, histogram
from processors.runtime.probes import PortTaken
from processors.runtime.registry import MetricsRegistry
from processors.runtime.settings import load_settings
from processors.runtime.supervisor import with_metrics_ports
from tests.collectors.helpers import until
from tests.families import FAMILIES, ROOT, unit_of
from tests.servers import free_ports

open_metrics: Any = parser.text_string_to_metric_families
OPEN = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5"

# What is not bounded must not be a label: who it is, and what it says.
LABELS = {
    "code", "collector", "group", "half", "outcome", "partition", "path", "quantile", "reason", "stage", "state",
    "status", "tier", "version", "world",
}  # fmt: skip


def is_well_named(family: Family) -> bool:
    return (
        re.fullmatch(r"ark_pulse(_[a-z]+)+", family.name) is not None
        and (family.kind == "counter") == family.name.endswith("_total")
        and not re.search(r"_(ms|millis|minutes|percent|kib|mib|count|sum|bucket)\b", family.name)
        and (family.kind != "histogram" or family.name.endswith("_seconds"))
        and set(family.labels) <= LABELS
    )


def test_names_are_as_prometheus_would_have_them() -> None:
    assert [family.name for family in FAMILIES if not is_well_named(family)] == []


def test_no_two_families_have_the_same_name() -> None:
    names = [family.name for family in FAMILIES]
    assert len(set(names)) == len(names) > 50


def row_of(family: Family) -> str:
    labels = ", ".join(f"`{label}`" for label in family.labels)
    cells = (f"`{family.name}`", family.kind, labels, unit_of(family.name), family.about)
    return "|" + "|".join(f" {cell} " if cell else " " for cell in cells) + "|"


def test_the_reference_explains_each_family_as_the_code_does() -> None:
    lines = (ROOT / "docs" / "monitoring.md").read_text(encoding="utf-8").splitlines()
    assert [family.name for family in FAMILIES if row_of(family) not in lines] == []


def test_the_reference_explains_nothing_that_is_not_told() -> None:
    text = (ROOT / "docs" / "monitoring.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(ark_pulse_[a-z_]+)` \| (?:gauge|counter|histogram) \|", text, re.MULTILINE)
    assert sorted(rows) == sorted(family.name for family in FAMILIES)


def test_a_duration_counts_in_the_first_bucket_that_holds_it() -> None:
    durations = Histogram()
    for seconds in (0.0, 0.001, 0.0011, 10.0, 11.0):
        durations.observe(seconds)
    assert durations.counts == [2, 1, *(len(BOUNDS_S) - 3) * [0], 1, 1]
    assert durations.sum_s == pytest.approx(21.0021)


SAMPLES = [
    gauge("a", "a gauge", "label").of(1.5, 'with "quotes", \\ and\na line'),
    counter("b_total", "a counter").of(3),
    histogram("c_seconds", "durations").of(Histogram()),
]


@pytest.mark.parametrize(("accept", "parse"), [("", plain_text), ("text/plain", plain_text), (OPEN, open_metrics)])
def test_the_text_is_what_was_asked_for_and_says_what_is_told(accept: str, parse: Any) -> None:
    body, kind = expose(SAMPLES, accept)
    assert kind.startswith("application/openmetrics-text" if accept == OPEN else "text/plain")
    found = {family.name: family for family in parse(body.decode())}
    assert found["ark_pulse_a"].samples[0][1:3] == ({"label": 'with "quotes", \\ and\na line'}, 1.5)
    assert [sample.value for sample in found["ark_pulse_b"].samples] == [3]
    buckets = [sample.labels["le"] for sample in found["ark_pulse_c_seconds"].samples if "le" in sample.labels]
    assert list(map(float, buckets)) == [*BOUNDS_S, float("inf")]
    assert {"process_resident_memory_bytes", "python_info", "python_gc_collections"} <= found.keys()


@pytest.mark.parametrize(
    "accept",
    ["application/openmetrics-text;version=abc", "application/openmetrics-text;version=1e400", "text/plain;version=ä",
     "application/openmetrics-text;version=1.-1", "a,b;;=,", "," * 10_000],
)  # fmt: skip
def test_a_header_that_cannot_be_read_asks_for_the_plain_text(accept: str) -> None:
    assert expose(SAMPLES, accept)[1].startswith("text/plain; version=0.0.4")


@pytest.fixture
async def asked() -> list[str]:
    """Who was asked to get ready."""
    return []


@pytest.fixture
async def served(asked: list[str]) -> Any:
    metrics = MetricsRegistry("collectors")

    async def ask() -> None:
        asked.append("bus")

    metrics.add(lambda: iter(SAMPLES), ask)
    server = ExpositionServer(metrics, "127.0.0.1")
    port = await server.start("127.0.0.1", 0)
    async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as http:
        yield http
    await server.stop()


async def test_a_process_tells_its_stage_its_version_and_what_was_added(
    served: aiohttp.ClientSession, asked: list[str]
) -> None:
    async with served.get("/metrics", headers={"Accept": OPEN}) as answer:
        text = await answer.text()
    assert answer.headers["Content-Type"].startswith("application/openmetrics-text; version=1.0.0; charset=utf-8")
    assert answer.headers["Cache-Control"] == "no-store"
    found = {family.name: family for family in open_metrics(text)}
    assert found["ark_pulse_build_info"].samples[0].labels == {"stage": "collectors", "version": "0.1.0"}
    assert found["ark_pulse_b"].samples[0].value == 3
    assert asked == ["bus"]


@pytest.mark.parametrize(
    ("method", "path", "headers", "status"),
    [("GET", "/", {}, 404), ("POST", "/metrics", {}, 405), ("GET", "/metrics", {"Host": "evil.example"}, 403)],
)
async def test_nothing_else_is_served_there(
    served: aiohttp.ClientSession, method: str, path: str, headers: dict[str, str], status: int
) -> None:
    async with served.request(method, path, headers=headers) as answer:
        assert (answer.status, answer.content_type) == (status, "application/json")


async def test_many_who_ask_at_once_are_all_answered(served: aiohttp.ClientSession) -> None:
    async def ask() -> int:
        async with served.get("/metrics") as answer:
            await answer.read()
            return answer.status

    assert set(await asyncio.gather(*(ask() for _ in range(10)))) == {200}


async def test_a_loop_that_was_held_up_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_EVERY_S", 0.01)
    metrics = MetricsRegistry("collectors")
    with metrics.watching():
        time.sleep(0.2)  # noqa: ASYNC251  - that is what is measured
        await until(lambda: sum(metrics._delay.counts))
    assert metrics._delay.sum_s > 0.15


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


async def test_a_port_that_is_in_use_is_named_with_its_setting(taken: int) -> None:
    server = ExpositionServer(MetricsRegistry("collectors"), "127.0.0.1")
    with pytest.raises(SettingsError, match=rf"^ARK_METRICS_PORT {taken} on 127\.0\.0\.1 is already in use$"):
        await server.start("127.0.0.1", taken)


def programs(count: int) -> list[Program]:
    return [Program(name=str(number), argv=("x",), environment={"A": "b"}) for number in range(count)]


def test_each_program_gets_a_port_of_its_own() -> None:
    port = free_ports(3)
    given = with_metrics_ports(programs(3), load_settings({"ARK_METRICS_PORT": str(port)}))
    assert [each.environment for each in given] == [
        {"A": "b", "ARK_METRICS_PORT": str(port + number)} for number in range(3)
    ]


@pytest.mark.parametrize("other", ["ARK_HTTP_PORT", "FEDERATION_PORT"])
def test_a_port_that_is_another_one_of_ours_is_refused(other: str) -> None:
    settings = load_settings({"ARK_METRICS_PORT": "7101", other: "7101"})
    with pytest.raises(SettingsError, match=rf"^ARK_METRICS_PORT leads to 7101 for 0, which is {other}$"):
        with_metrics_ports(programs(1), settings)


def test_without_the_setting_programs_are_left_as_they_are() -> None:
    assert with_metrics_ports(programs(3), load_settings({})) == programs(3)


def test_a_program_whose_port_is_in_use_is_not_started(taken: int) -> None:
    settings = load_settings({"ARK_METRICS_PORT": str(taken)})
    with pytest.raises(PortTaken, match=rf"^ARK_METRICS_PORT: 127\.0\.0\.1:{taken} is already in use$"):
        with_metrics_ports(programs(1), settings)
