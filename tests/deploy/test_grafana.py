"""The dashboard for Grafana: whole, without overlaps, of metrics that are told, and honest about what is simulated."""

import json
import re
from typing import Any, Final

import pytest
import yaml

from tests.deploy.promql import DEPLOY, known_metrics, unknown_in

FOLDER: Final = DEPLOY / "grafana"
DASHBOARD: Final[dict[str, Any]] = json.loads((FOLDER / "dashboard.json").read_text(encoding="utf-8"))
PANELS: Final[list[dict[str, Any]]] = DASHBOARD["panels"]
DRAWN: Final = [panel for panel in PANELS if panel["type"] != "row"]
VARIABLES: Final = {each["name"]: each for each in DASHBOARD["templating"]["list"]}
EXPRESSIONS: Final = [target["expr"] for panel in DRAWN for target in panel["targets"]]
# Grafana's names of units.
UNITS: Final = {"none", "s", "bytes", "Bps", "cps", "percentunit"}


def test_every_panel_has_an_id_and_a_title_of_its_own_within_its_row() -> None:
    assert len({panel["id"] for panel in PANELS}) == len(PANELS)
    row, seen = "", set()
    for panel in PANELS:
        row = panel["title"] if panel["type"] == "row" else row
        assert (row, panel["title"], panel["type"]) not in seen
        seen.add((row, panel["title"], panel["type"]))


def test_no_panel_covers_another_and_all_lie_within_the_grid() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in PANELS:
        place = panel["gridPos"]
        assert 0 <= place["x"] < place["x"] + place["w"] <= 24
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        taken |= cells


def test_the_rows_are_those_that_an_operator_looks_for() -> None:
    rows = [panel["title"].split(":")[0] for panel in PANELS if panel["type"] == "row"]
    assert rows == ["Overview", "Federation", "Memory", "Pipeline", "Gateway", "Sources", "Processes", "Bus"]


def test_every_panel_asks_the_chosen_data_source() -> None:
    assert VARIABLES["datasource"]["type"] == "datasource"
    asked = [panel["datasource"] for panel in DRAWN] + [t["datasource"] for panel in DRAWN for t in panel["targets"]]
    asked += [each["datasource"] for each in VARIABLES.values() if each["type"] == "query"]
    assert all(each == {"type": "prometheus", "uid": "${datasource}"} for each in asked)


@pytest.mark.parametrize("expr", EXPRESSIONS)
def test_an_expression_is_promql_of_metrics_labels_and_variables_that_there_are(expr: str) -> None:
    assert unknown_in(expr, known_metrics()) == []
    assert set(re.findall(r"\$(\w+)", expr)) <= {*VARIABLES, "__rate_interval"}


def test_every_metric_that_is_told_is_on_the_dashboard() -> None:
    shown = set(re.findall(r"\b(ark_pulse_\w+)", " ".join(EXPRESSIONS)))
    families = {
        re.sub(r"_(bucket|sum|count)$", "", name) if name.endswith(("_bucket", "_sum", "_count")) else name
        for name in shown
    }
    told = {re.sub(r"_(bucket|sum|count)$", "", name) for name in known_metrics() if name.startswith("ark_pulse_")}
    assert families == told


def test_what_is_unknown_is_a_gap_and_not_a_line_or_a_nought() -> None:
    for panel in DRAWN:
        defaults = panel["fieldConfig"]["defaults"]
        if panel["type"] == "stat":
            assert defaults["noValue"] == "unknown"
        else:
            assert defaults["custom"]["spanNulls"] is False
            assert 0 < defaults["custom"]["insertNulls"] <= 60_000
    assert [expr for expr in EXPRESSIONS if "or vector(0)" in expr and "ALERTS" not in expr] == []


def test_every_graph_has_a_unit() -> None:
    for panel in DRAWN:
        if panel["type"] != "state-timeline":
            assert panel["fieldConfig"]["defaults"]["unit"] in UNITS, panel["title"]


def test_what_is_simulated_is_said_at_the_top_and_at_every_value_of_a_world() -> None:
    first = DRAWN[0]
    assert first["gridPos"]["y"] <= 1
    said = [
        option["text"]
        for mapping in first["fieldConfig"]["defaults"]["mappings"]
        for option in mapping["options"].values()
    ]
    assert said == ["live", "stale", "SIMULATED"]
    for panel in DRAWN:
        for target in panel["targets"]:
            if "$world" in target["expr"]:
                assert "{{world}}" in target["legendFormat"], panel["title"]


def test_it_is_provisioned_with_a_data_source() -> None:
    [source] = yaml.safe_load((FOLDER / "provisioning/datasources/prometheus.yaml").read_text())["datasources"]
    [provider] = yaml.safe_load((FOLDER / "provisioning/dashboards/ark-pulse.yaml").read_text())["providers"]
    assert source["type"] == "prometheus"
    assert provider["type"] == "file"
