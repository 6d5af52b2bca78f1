"""The rules for Prometheus: each alert fires when it should, uses what is told, and says where to read on."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from processors.cli import STAGES
from schemas.frames import CLOSE_CODES
from tests.deploy.promql import DEPLOY, ROOT, known_metrics, unknown_in
from tests.docs.blocks import blocks_of

FOLDER: Final = DEPLOY / "prometheus"
RULES: Final[list[dict[str, Any]]] = [
    rule for group in yaml.safe_load((FOLDER / "rules.yml").read_text())["groups"] for rule in group["rules"]
]
ALERTS: Final = {rule["alert"]: rule for rule in RULES if "alert" in rule}
RECORDED: Final = {rule["record"]: rule["expr"] for rule in RULES if "record" in rule}
TESTS: Final[list[dict[str, Any]]] = yaml.safe_load((FOLDER / "rules_test.yml").read_text())["tests"]

promtool = pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")


def run_promtool(*args: str) -> None:
    done = subprocess.run(["promtool", *args], cwd=FOLDER, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@promtool
def test_promtool_finds_that_each_alert_fires_when_it_should_and_only_then() -> None:
    run_promtool("test", "rules", "rules_test.yml")


@promtool
def test_promtool_takes_the_configurations(tmp_path: Path) -> None:
    run_promtool("check", "config", "prometheus.yml")
    for name in ("gateway-only.yml", "rules.yml"):
        shutil.copy(FOLDER / name, tmp_path)
    (tmp_path / "ark-pulse.token").write_text("a token")
    run_promtool("check", "config", str(tmp_path / "gateway-only.yml"))


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.get("alert") or rule["record"])
def test_an_expression_is_promql_of_metrics_and_labels_that_are_told(rule: dict[str, Any]) -> None:
    known = known_metrics()
    recorded = {name: {"partition", "instance"} for name in RECORDED}
    assert unknown_in(rule["expr"], known | recorded) == []


def test_what_nobody_tells_is_found_in_an_expression() -> None:
    known = known_metrics()
    assert unknown_in('max by (world) (ark_pulse_bus_up{state="x"}) + nothing', known) == [
        "ark_pulse_bus_up.state", "nothing", "world"
    ]  # fmt: skip
    with pytest.raises(ValueError, match="unclosed left parenthesis"):
        unknown_in("max by (", known)


def test_each_alert_is_tested_firing_and_silent() -> None:
    cases = [(check["alertname"], bool(check["exp_alerts"])) for test in TESTS for check in test["alert_rule_test"]]
    assert {name for name, fires in cases if fires} == set(ALERTS)
    # Nothing at all is the only case in which an absent gateway is not one.
    assert {name for name, fires in cases if not fires} == set(ALERTS)


@pytest.mark.parametrize("name", ALERTS)
def test_an_alert_says_how_bad_it_is_what_it_is_and_where_to_read_on(name: str) -> None:
    alert = ALERTS[name]
    assert alert["labels"].keys() == {"severity"}
    assert alert["labels"]["severity"] in {"critical", "warning"}
    assert alert["annotations"].keys() == {"summary", "description", "runbook"}
    page, _, anchor = alert["annotations"]["runbook"].partition("#")
    text = (ROOT / page).read_text(encoding="utf-8")
    headings = [
        re.sub(r"[^\w\- ]", "", line.lstrip("# ").lower()).replace(" ", "-")
        for line in text.splitlines()
        if line.startswith("#")
    ]
    assert not anchor or anchor in headings


@pytest.mark.parametrize("name", ALERTS)
def test_an_alert_names_only_labels_that_it_has(name: str) -> None:
    alert = ALERTS[name]
    texts = " ".join(alert["annotations"].values())
    named = set(re.findall(r"\$labels\.(\w+)", texts))
    tested = [
        exp["exp_labels"] for test in TESTS for check in test["alert_rule_test"] if check["alertname"] == name
        for exp in check["exp_alerts"]
    ]  # fmt: skip
    assert all(named <= labels.keys() for labels in tested)


def test_the_close_code_of_slow_clients_is_the_one_that_is_watched() -> None:
    assert f'code="{CLOSE_CODES["too_slow"].code}"' in ALERTS["ArkPulseClientsSlow"]["expr"]


def test_prometheus_asks_every_process_that_up_starts() -> None:
    config = yaml.safe_load((FOLDER / "prometheus.yml").read_text())
    [job] = config["scrape_configs"]
    targets = job["static_configs"][0]["targets"]
    stages = [line.split(":")[0] for line in (ROOT / "Procfile").read_text().splitlines() if line]
    assert targets == [f"localhost:{9102 + number}" for number in range(len(stages))]
    assert all(config["rule_files"] == ["rules.yml"] and job["job_name"].startswith("ark-pulse") for _ in stages)


def test_the_ports_of_the_units_stand_where_they_differ_from_those_of_up() -> None:
    lines = (FOLDER / "prometheus.yml").read_text().splitlines()
    for path in (DEPLOY / "systemd").glob("ark-pulse-*.service"):
        for port in re.findall(r"ARK_METRICS_PORT=(\S+)", path.read_text()):
            stage = path.stem.removeprefix("ark-pulse-").rstrip("@")
            (line,) = (line for line in lines if f"# {stage}" in line)
            assert f"localhost:{port.replace('%i', '1')}" in line


@promtool
def test_the_job_of_the_document_is_the_one_that_the_rules_know_and_finds_the_port_of_pods(tmp_path: Path) -> None:
    [block] = [block for block in blocks_of(ROOT / "docs" / "deployment.md") if block.language == "yaml"]
    config = yaml.safe_load(block.text)
    [job] = config["scrape_configs"]
    assert job["job_name"].startswith("ark-pulse")
    # Debian's promtool is built without Kubernetes; the rest it can check.
    assert job.pop("kubernetes_sd_configs") == [{"role": "pod", "namespaces": {"names": ["ark-pulse"]}}]
    (tmp_path / "prometheus.yml").write_text(yaml.safe_dump(config))
    run_promtool("check", "config", str(tmp_path / "prometheus.yml"))
    kept = [each["regex"] for each in job["relabel_configs"] if each.get("action") == "keep"]
    manifests = [path.read_text() for path in (DEPLOY / "kubernetes").glob("*.yaml")]
    assert kept == ["metrics"]
    assert sum("{name: metrics, containerPort: 9102}" in each for each in manifests) == len(STAGES)


def test_the_documentation_has_every_alert_with_its_severity() -> None:
    text = (ROOT / "docs" / "monitoring.md").read_text(encoding="utf-8")
    told = dict(re.findall(r"^\| `(ArkPulse\w+)` \((\w+)\) \|", text, re.MULTILINE))
    assert told == {name: alert["labels"]["severity"] for name, alert in ALERTS.items()}
