"""The files of deploy/: checked by the tools that know their formats, and held against the code by what they say."""

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from yamllint import linter
from yamllint.config import YamlLintConfig

from processors.cli import STAGES
from processors.runtime.settings import SETTINGS, load_settings
from tests.deploy.users import DEPLOY, make_users

ROOT = DEPLOY.parent
BIN = Path(sys.executable).parent
NAMES = {setting.name for setting in SETTINGS}
DEFAULTS = load_settings({})
METRICS_PORT = 9102
DOCUMENT = (ROOT / "docs" / "deployment.md").read_text()
LINES = YamlLintConfig("extends: default\nrules: {line-length: {max: 120}, document-start: disable}")
USERS = set(re.findall(r"^user (\S+) on PASSWORD", (DEPLOY / "redis" / "users.acl").read_text(), re.MULTILINE))
YAML = [DEPLOY / "compose.yaml", *sorted((DEPLOY / "kubernetes").glob("*.yaml")), *(DEPLOY / "redis").glob("*.yaml")]
MANIFESTS = [path for path in YAML if path.parent.name == "kubernetes" and path.name != "kustomization.yaml"]


def run(*command: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment or None)


@pytest.mark.parametrize("path", YAML, ids=lambda path: str(path.relative_to(DEPLOY)))
def test_yaml_is_as_yamllint_wants_it(path: Path) -> None:
    assert [str(found) for found in linter.run(path.read_text(), LINES)] == []


def settings_in(text: str) -> set[str]:
    return set(re.findall(r"\b(?:ARK_[A-Z_]+|REDIS_URL|FEDERATION_[A-Z]+)\b", text))


@pytest.mark.parametrize("folder", ["compose.yaml", "Dockerfile", "systemd", "kubernetes", "redis"])
def test_every_setting_that_is_named_exists(folder: str) -> None:
    path = DEPLOY / folder
    files = [path] if path.is_file() else [each for each in path.rglob("*") if each.is_file()]
    named = {name for each in files for name in settings_in(each.read_text())}
    assert named
    assert named <= NAMES


# Containers.


def test_hadolint_finds_nothing_in_the_dockerfile() -> None:
    found = run(BIN / "hadolint", DEPLOY / "Dockerfile")
    assert (found.returncode, found.stdout) == (0, "")


def test_what_the_dockerfile_copies_is_there_and_not_ignored() -> None:
    text = (DEPLOY / "Dockerfile").read_text()
    copied = {name for line in re.findall(r"^COPY (?!--)(.+) \S+$", text, re.MULTILINE) for name in line.split()}
    let_through = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    assert copied == let_through
    assert all((ROOT / name).exists() for name in copied)
    # It is run as the stages are, from elsewhere than the checkout.
    assert (f":{DEFAULTS.ark_http_port}/healthz" in text, "USER 10001:10001" in text) == (True, True)


def test_all_that_the_packages_need_beside_their_modules_is_installed_with_them() -> None:
    patterns = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]
    told = {
        path
        for package, globs in patterns.items()
        for glob in globs
        for path in ROOT.joinpath(*package.split(".")).glob(glob)
    }
    files = {path for top in ("schemas", "processors") for path in (ROOT / top).rglob("*") if path.is_file()}
    assert {path for path in files if path.suffix not in {".py", ".pyc"}} <= told


def test_the_entrypoint_runs_ark_pulse_with_the_settings_of_the_secrets(tmp_path: Path) -> None:
    make_users(tmp_path / "secrets")
    program = tmp_path / "ark-pulse"
    program.write_text('#!/bin/sh\necho "$1 $ARK_BUS_URL"\n')
    program.chmod(0o755)
    script = (DEPLOY / "entrypoint").read_text()
    assert script.count("/run/secrets") == 1
    script = script.replace("/run/secrets/*.env", f"{tmp_path}/secrets/gateway.env")
    answer = run("sh", "-c", script, "entrypoint", "run", PATH=f"{tmp_path}:/usr/bin:/bin")
    assert answer.stdout.startswith("run redis://gateway:"), answer
    odd = "redis://h/0?x=1&y=a b$(touch x)'"
    (tmp_path / "secrets" / "gateway.env").write_text(f"# a comment\nARK_BUS_URL={odd}\r\nA=1")
    answer = run("sh", "-c", script, "entrypoint", "run", PATH=f"{tmp_path}:/usr/bin:/bin")
    assert answer.stdout == f"run {odd}\n", answer
    without = run(
        "sh", "-c", script.replace("gateway.env", "none.env"), "entrypoint", "up", PATH=f"{tmp_path}:/usr/bin"
    )
    assert without.stdout == "up \n", without


def compose() -> dict[str, Any]:
    text: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    return text


def test_compose_is_as_its_specification_has_it() -> None:
    answer = run(BIN / "check-jsonschema", "--builtin-schema", "vendor.compose-spec", DEPLOY / "compose.yaml")
    assert answer.returncode == 0, answer.stdout


def test_compose_runs_every_stage_confined_and_with_its_own_user() -> None:
    text = compose()
    services = text["services"]
    assert set(STAGES) <= services.keys()
    for name, service in services.items():
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert set(service.get("networks", [])) <= text["networks"].keys(), name
        assert set(service.get("secrets", [])) <= text["secrets"].keys(), name
        assert name == "tools" or "memory" in service["deploy"]["resources"]["limits"], name
    for stage in STAGES:
        service = services[stage]
        assert service["command"] == ["run", stage]
        assert service["secrets"] == [f"{stage}.env"]
        port = DEFAULTS.ark_http_port if stage == "gateway" else METRICS_PORT
        assert f"127.0.0.1:{port}/" in service["healthcheck"]["test"][-1]
        assert service["environment"]["ARK_METRICS_PORT"] == str(METRICS_PORT)
    assert services["gateway"]["ports"] == [f"127.0.0.1:{DEFAULTS.ark_http_port}:{DEFAULTS.ark_http_port}"]
    assert services["federation"]["ports"] == [f"{DEFAULTS.federation_port}:{DEFAULTS.federation_port}"]
    assert text["networks"]["bus"]["internal"] is True
    written = {f"{user}.env" for user in USERS} | {"users.acl"}
    assert {Path(each["file"]).name for each in text["secrets"].values()} <= written


def test_tools_of_compose_take_away_what_the_collectors_left() -> None:
    services = compose()["services"]
    collectors, tools = services["collectors"], services["tools"]
    assert set(collectors["volumes"]) <= set(tools["volumes"])
    assert set(collectors["networks"]) <= set(tools["networks"])
    assert collectors["extra_hosts"] == tools["extra_hosts"]
    names = ("ARK_NODE_ID", "ARK_BASE_PATH", "REDIS_URL")
    assert [collectors["environment"][name] for name in names] == [tools["environment"][name] for name in names]


def test_compose_trusts_the_network_that_a_proxy_of_the_host_comes_from() -> None:
    text = compose()
    (pool,) = text["networks"]["front"]["ipam"]["config"]
    assert text["services"]["gateway"]["environment"]["ARK_TRUSTED_PROXIES"] == pool["subnet"]
    assert pool["subnet"] in DOCUMENT
    # What is published goes by way of the one network that is not internal.
    assert text["services"]["gateway"]["networks"] == ["bus", "front"]


def test_prometheus_of_compose_keeps_its_metrics_for_long() -> None:
    service = compose()["services"]["prometheus"]
    options = dict(option.split("=") for option in service["command"])
    assert options["--storage.tsdb.retention.time"] == "1y"
    assert f"prometheus:{options['--storage.tsdb.path']}" in service["volumes"]
    assert options["--config.file"] in {each["target"] for each in service["configs"]}


# systemd.

UNITS = ["ark-pulse.target", "ark-pulse-bus.service", "ark-pulse-aggregators@1.service"]
UNITS += [f"ark-pulse-{stage}.service" for stage in STAGES if stage != "aggregators"]
MOST_EXPOSED = 20
"""Of 100, as `systemd-analyze security` counts it; a unit that says nothing has 96."""


@pytest.fixture(scope="module")
def units(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The units, with programs that are there in the place of those that an installation would have."""
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed")
    folder = tmp_path_factory.mktemp("units")
    shutil.copytree(DEPLOY / "systemd", folder, dirs_exist_ok=True)
    for path in folder.glob("*.service"):
        text = path.read_text().replace("/opt/ark-pulse/.venv/bin/ark-pulse", str(BIN / "ark-pulse"))
        path.write_text(text.replace("/usr/bin/redis-server", "/bin/true"))
    return folder


def test_systemd_takes_all_units(units: Path) -> None:
    answer = run("systemd-analyze", "verify", "--man=no", *UNITS, SYSTEMD_UNIT_PATH=f"{units}:")
    assert (answer.returncode, answer.stderr) == (0, "")


def test_systemd_finds_the_services_confined(units: Path) -> None:
    services = [name for name in UNITS if name.endswith(".service")]
    answer = run(
        *("systemd-analyze", "security", "--offline=true", f"--threshold={MOST_EXPOSED}", "--no-pager", *services),
        SYSTEMD_UNIT_PATH=f"{units}:",
    )
    assert answer.returncode == 0, answer.stdout[-300:]
    assert answer.stdout.count("Overall exposure level") == len(services)


def test_units_run_the_stages_with_ports_of_their_own_and_the_files_that_are_made_for_them() -> None:
    ports = []
    for stage in STAGES:
        (path,) = (DEPLOY / "systemd").glob(f"ark-pulse-{stage}*.service")
        text = path.read_text()
        assert f"/ark-pulse run {stage}\n" in text
        files = re.findall(r"EnvironmentFile=/etc/ark-pulse/(\S+)\.env", text)
        assert files == ["common", stage]
        assert stage in USERS
        ports += re.findall(r"ARK_METRICS_PORT=(\d+)", text.replace("%i", "1"))
    taken = {DEFAULTS.ark_http_port, DEFAULTS.federation_port, 6390}
    assert len({*ports, *map(str, taken)}) == len(STAGES) + len(taken)
    common = dict(
        line.split("=", 1) for line in (DEPLOY / "systemd" / "common.env").read_text().splitlines() if "=" in line
    )
    assert {name.lstrip("#") for name in common} <= NAMES
    sysusers = re.findall(r"^u (\S+)", (DEPLOY / "systemd" / "ark-pulse.sysusers").read_text(), re.MULTILINE)
    named = {
        user
        for path in (DEPLOY / "systemd").glob("*.service")
        for user in re.findall(r"^User=(\S+)", path.read_text(), re.MULTILINE)
    }
    assert named == set(sysusers)


# Kubernetes.


PARSED = {path.name: list(yaml.safe_load_all(path.read_text())) for path in MANIFESTS}


def of_kind(*kinds: str) -> dict[str, dict[str, Any]]:
    every = [each for found in PARSED.values() for each in found]
    return {each["metadata"]["name"]: each for each in every if each["kind"] in kinds}


WORKLOADS = of_kind("Deployment", "StatefulSet")


@pytest.mark.parametrize("name", PARSED)
def test_kubernetes_has_the_manifests_in_its_schemas(name: str) -> None:
    for each in PARSED[name]:
        for version in ("1.29", kubernetes_validate.latest_version()):
            kubernetes_validate.validate(each, version, strict=True)


def test_the_kustomization_names_every_manifest_and_what_make_users_writes() -> None:
    text = yaml.safe_load((DEPLOY / "kubernetes" / "kustomization.yaml").read_text())
    assert set(text["resources"]) == {"../redis", *(path.name for path in MANIFESTS)}
    secrets = {each["name"]: Path((each.get("envs") or each["files"])[0]) for each in text["secretGenerator"]}
    assert {path.name for path in secrets.values()} <= {"users.acl", "tokens", *(f"{user}.env" for user in USERS)}
    made = set(secrets) | {each["name"] for each in text["configMapGenerator"]} | {"bus"}
    claims = {"collectors", "ark-data"}
    for name, each in WORKLOADS.items():
        pod = each["spec"]["template"]["spec"]
        wanted = [source for container in pod["containers"] for source in container.get("envFrom", [])]
        assert {(each.get("configMapRef") or each["secretRef"])["name"] for each in wanted} <= made, name
        for volume in pod["volumes"]:
            source = volume.get("configMap", {}).get("name") or volume.get("secret", {}).get("secretName")
            claim = volume.get("persistentVolumeClaim", {}).get("claimName")
            assert source in made or claim in claims or "emptyDir" in volume, (name, volume)
    (settings,) = (each["literals"] for each in text["configMapGenerator"] if each["name"] == "settings")
    assert {literal.split("=")[0] for literal in settings} <= NAMES
    assert f"ARK_METRICS_PORT={METRICS_PORT}" in settings
    # Without it all clients would be one address, the ingress controller's.
    assert load_settings(dict(literal.split("=") for literal in settings)).ark_trusted_proxies


def test_kustomize_puts_the_manifests_together(tmp_path: Path) -> None:
    for name in ("kubernetes", "redis"):
        shutil.copytree(DEPLOY / name, tmp_path / name)
    secrets = tmp_path / "kubernetes" / "secrets"
    assert make_users(secrets, "bus:6390").keys() == USERS
    (secrets / "tokens").touch()
    if shutil.which("kubectl") is None:
        return  # what it would say is checked by the other tests
    answer = run("kubectl", "kustomize", tmp_path / "kubernetes")
    assert answer.returncode == 0, answer.stderr
    kinds = [each["kind"] for each in yaml.safe_load_all(answer.stdout)]
    assert (kinds.count("Secret"), kinds.count("ConfigMap"), kinds.count("Deployment")) == (6, 2, 4)


@pytest.mark.parametrize("name", WORKLOADS)
def test_pods_are_restricted_and_selected_by_what_they_are_labelled_with(name: str) -> None:
    spec = WORKLOADS[name]["spec"]
    labels, pod = spec["template"]["metadata"]["labels"], spec["template"]["spec"]
    assert spec["selector"]["matchLabels"].items() <= labels.items()
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["runAsUser"] > 0
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod["automountServiceAccountToken"] is False
    # Of a service `federation` it would be told FEDERATION_PORT, which is a setting, and tcp://... is no port.
    assert pod["enableServiceLinks"] is False
    assert not {"hostNetwork", "hostPID", "hostIPC"} & pod.keys()
    (container,) = pod["containers"]
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]},
    }  # fmt: skip
    assert container["resources"]["limits"]["memory"]
    assert {mount["name"] for mount in container["volumeMounts"]} <= (
        {volume["name"] for volume in pod["volumes"]}
        | {claim["metadata"]["name"] for claim in spec.get("volumeClaimTemplates", [])}
    )
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        found = container.get(probe, {})
        assert (
            found.get("httpGet", found.get("tcpSocket", {})).get("port", "redis" if name == "bus" else "metrics")
            in ports
        )
    if name == "bus":
        assert ports == {"redis": 6390}
        return
    assert container["args"] == ["run", name]
    # What listens on another port does so only when the bus has answered.
    for probe in ("startupProbe", "livenessProbe"):
        assert container[probe]["httpGet"] == {"path": "/metrics", "port": "metrics"}
    assert ports["metrics"] == METRICS_PORT
    assert {each["name"] for each in container.get("env", [])} <= NAMES
    expected = {"gateway": DEFAULTS.ark_http_port, "federation": DEFAULTS.federation_port}.get(name)
    assert ports.get("http") == expected
    assert spec["template"]["metadata"]["annotations"]["prometheus.io/port"] == str(METRICS_PORT)


def test_aggregators_and_collectors_are_never_of_two_releases() -> None:
    at_once = {name for name, each in WORKLOADS.items() if each["spec"].get("strategy") == {"type": "Recreate"}}
    assert at_once == {"aggregators", "collectors"}


def test_services_budgets_autoscalers_and_policies_mean_pods_that_are_there() -> None:
    assert WORKLOADS.keys() == {*STAGES, "bus"}
    labels = [each["spec"]["template"]["metadata"]["labels"] for each in WORKLOADS.values()]
    ports = {
        port for each in WORKLOADS.values() for container in each["spec"]["template"]["spec"]["containers"]
        for port in (found["containerPort"] for found in container["ports"])
    }  # fmt: skip
    for name, each in of_kind("Service").items():
        assert any(each["spec"]["selector"].items() <= found.items() for found in labels), name
        (port,) = each["spec"]["ports"]
        container = WORKLOADS[name]["spec"]["template"]["spec"]["containers"][0]
        assert {"name": port["targetPort"], "containerPort": port["port"]} in container["ports"]
    for name, each in of_kind("PodDisruptionBudget").items():
        assert any(each["spec"]["selector"]["matchLabels"].items() <= found.items() for found in labels), name
    for name, each in of_kind("HorizontalPodAutoscaler").items():
        assert each["spec"]["scaleTargetRef"]["name"] == name in WORKLOADS
        assert "replicas" not in WORKLOADS[name]["spec"]
        assert each["spec"]["minReplicas"] > of_kind("PodDisruptionBudget")[name]["spec"]["minAvailable"]
    assert of_kind("HorizontalPodAutoscaler")["aggregators"]["spec"]["maxReplicas"] == DEFAULTS.ark_partitions
    # Nothing is open but what a policy names; what comes in comes to a port that is listened on.
    policies = of_kind("NetworkPolicy")
    assert policies["nothing"]["spec"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    for name, each in policies.items():
        chosen = each["spec"]["podSelector"].get("matchLabels", {})
        assert any(chosen.items() <= found.items() for found in labels), name
        for rule in each["spec"].get("ingress", []):
            assert {port["port"] for port in rule["ports"]} <= ports, name
