"""The command in processes of its own: exit codes, and messages word for word."""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import pytest
import redis

from processors.cli import STAGES, main
from processors.client.items import TOPICS
from schemas import codec, streams
from schemas.metrics import DeadLetter, SourceState
from tests.integration.up import ROOT, eventually
from tests.servers import free_port


def _heed_interrupts() -> None:
    # Tests that run in the background of a shell inherit that SIGINT is ignored.
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@contextlib.contextmanager
def _start(*arguments: str, **environment: str) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        [sys.executable, "-m", "processors.cli", *arguments],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=_heed_interrupts,  # noqa: PLW1509  - this process has no other thread that matters
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def _run(*arguments: str, **environment: str) -> tuple[int, str, str]:
    with _start(*arguments, **environment) as process:
        output, errors = process.communicate(timeout=20)
        return process.returncode, output, errors


def _letter(client: "redis.Redis", reason: str) -> None:
    body = codec.encode(DeadLetter(ts=1, rejected_by="test", reason=reason, excerpt="\x1b[31m"))
    client.xadd(streams.DEAD, codec.entry_fields("dead", 1, body))  # type: ignore[arg-type]


@pytest.fixture
def client(server_url: str) -> Iterator["redis.Redis"]:
    with redis.Redis.from_url(server_url) as client:
        client.flushall()
        yield client


def test_version_is_that_of_the_distribution() -> None:
    assert _run("version") == (0, f"{metadata.version('ark-pulse')}\n", "")


def test_version_as_json_names_python_too() -> None:
    _, output, _ = _run("version", "--json")
    assert json.loads(output)["python"] == ".".join(map(str, sys.version_info[:3]))


def test_version_needs_no_setting_and_imports_no_stage() -> None:
    code = "import sys; from processors.cli import main; main(['version']); sys.exit('faststream' in sys.modules)"
    process = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False, stdout=subprocess.DEVNULL)
    assert process.returncode == 0


def test_the_supervisor_imports_neither_faststream_nor_redis() -> None:
    code = "import sys, processors.runtime.up; sys.exit(bool({'faststream', 'redis', 'aiohttp'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


def test_no_command_is_a_usage_error() -> None:
    code, _, errors = _run()
    assert (code, errors.splitlines()[-1]) == (2, "ark-pulse: error: the following arguments are required: command")


def test_an_unknown_stage_is_a_usage_error() -> None:
    assert _run("run", "kitchen")[0] == 2


@pytest.mark.parametrize("text", ["0", "-1", "x"])
def test_a_count_that_is_no_number_of_entries_is_a_usage_error(text: str) -> None:
    code, _, errors = _run("tail", "dead", f"--count={text}")
    assert (code, "argument --count: must be a number of at least 1" in errors) == (2, True)


@pytest.mark.parametrize(
    "command",
    ["up", "run", "bus", "tail", "doctor", "version", "seed", "check", "capture", "dead", "status", "uninstall"],
)
def test_help_of_a_command_documents_the_exit_codes(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main([command, "--help"])
    assert "exit codes:\n  0    all went well" in capsys.readouterr().out


def test_a_setting_that_cannot_be_used_is_one_line_and_exit_code_3() -> None:
    message = "ark-pulse: ARK_HTTP_PORT must be a number between 1 and 65535\n"
    assert _run("doctor", ARK_HTTP_PORT="x") == (3, "", message)


def test_a_base_path_that_does_not_exist_is_one_line_and_exit_code_3() -> None:
    message = "ark-pulse: ARK_BASE_PATH is not a directory: /no/such\n"
    assert _run("up", ARK_BASE_PATH="/no/such") == (3, "", message)


def test_the_address_of_the_bus_is_that_of_the_environment() -> None:
    assert _run("bus", "url", ARK_BUS_URL="redis://:pw@h/0") == (0, "redis://:pw@h/0\n", "")


def test_without_a_bus_its_address_is_a_failure_that_tells_what_to_do(tmp_path: Path) -> None:
    message = (
        f"ark-pulse: no bus: ARK_BUS_URL is unset and no embedded server runs in {tmp_path}; "
        "start one with `ark-pulse up`\n"
    )
    assert _run("bus", "url", ARK_STATE_DIR=str(tmp_path)) == (1, "", message)


def test_tail_follows_as_many_partitions_as_the_bus_has(client: "redis.Redis", server_url: str) -> None:
    client.set(streams.PARTITIONS, 32)
    client.xadd(streams.changes_key("31"), {"v": "1", "t": "roster", "d": '{"a":null}'})
    code, output, _ = _run("tail", "peers", "--from-start", "--count=1", ARK_BUS_URL=server_url, ARK_PARTITIONS="4")
    assert (code, output.split(maxsplit=1)[1]) == (0, "gone      a\n")


def test_tail_prints_what_is_there_and_ends_after_its_count(client: "redis.Redis", server_url: str) -> None:
    for reason in ("one", "two", "three"):
        _letter(client, reason)
    code, output, _ = _run("tail", "dead", "--from-start", "--count=2", ARK_BUS_URL=server_url)
    assert (code, [line.split(maxsplit=1)[1] for line in output.splitlines()]) == (
        0,
        ["test: one  \\x1b[31m", "test: two  \\x1b[31m"],
    )


def test_tail_as_json_gives_the_body_as_it_travelled(client: "redis.Redis", server_url: str) -> None:
    _letter(client, "one")
    _, output, _ = _run("tail", "dead", "--from-start", "--count=1", "--json", ARK_BUS_URL=server_url)
    line = json.loads(output)
    assert (line["stream"], line["data"]["reason"]) == ("ark:dead", "one")


def test_tail_that_is_interrupted_ends_quietly(client: "redis.Redis", server_url: str) -> None:
    _letter(client, "one")
    with _start("tail", "dead", "--from-start", ARK_BUS_URL=server_url) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=5)
    assert (process.returncode, errors) == (130, "")


def test_tail_whose_reader_goes_away_ends_quietly(client: "redis.Redis", server_url: str) -> None:
    _letter(client, "one")
    with _start("tail", "dead", "--from-start", ARK_BUS_URL=server_url) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        _letter(client, "two")
        assert (process.wait(5), process.stderr.read()) == (0, "")


def test_tail_with_a_wrong_password_is_a_failure(server_url: str) -> None:
    url = server_url.replace("redis://", "redis://nobody:guess@")
    code, _, errors = _run("tail", "dead", ARK_BUS_URL=url)
    assert (code, errors.startswith("ark-pulse: the bus refuses to be read: ")) == (1, True)


def test_doctor_without_anything_running_finds_trouble(tmp_path: Path) -> None:
    port = str(free_port())
    code, output, errors = _run("doctor", ARK_STATE_DIR=str(tmp_path), ARK_HTTP_PORT=port)
    assert (code, errors, f"TROUBLE  gateway: nothing listens on 127.0.0.1:{port}" in output) == (4, "", True)


def test_doctor_as_json_has_settings_and_checks(tmp_path: Path) -> None:
    _, output, _ = _run("doctor", "--json", ARK_STATE_DIR=str(tmp_path), ARK_HTTP_PORT=str(free_port()))
    report = json.loads(output)
    assert {row["name"]: row["origin"] for row in report["settings"]}["ARK_HTTP_PORT"] == "environment"
    assert {row["check"]: row["level"] for row in report["checks"]}["bus"] == "trouble"


def test_doctor_aligns_the_values_of_the_settings(tmp_path: Path) -> None:
    _, output, _ = _run("doctor", ARK_STATE_DIR=str(tmp_path), ARK_HTTP_PORT=str(free_port()))
    rows = [line for line in output.splitlines() if line.endswith(("(default)", "(environment)"))]
    assert f"  ARK_STATE_DIR               {tmp_path}  (environment)" in rows
    assert "  ARK_MAX_CLIENTS_PER_ADDRESS 200  (default)" in rows


def test_status_without_anything_running_is_trouble_in_one_line_each(tmp_path: Path) -> None:
    port = str(free_port())
    code, output, errors = _run("status", ARK_STATE_DIR=str(tmp_path), ARK_HTTP_PORT=port)
    assert (code, errors) == (4, "")
    first, *rest = output.splitlines()
    assert first.endswith("  TROUBLE: no bus, no gateway")
    assert rest[1:] == [f"gateway          no gateway at 127.0.0.1:{port}"]


def _word(client: "redis.Redis", reason: str) -> None:
    body = codec.encode(SourceState(node="n", collector="peers", group="peers", state="down", since=1, reason=reason))
    client.xadd(streams.SOURCES, codec.entry_fields("source", 1, body))  # type: ignore[arg-type]


def test_status_that_watches_draws_again_at_a_change_and_ends_quietly_at_sigint(
    client: "redis.Redis", server_url: str
) -> None:
    _word(client, "one")
    with _start("status", "--watch", ARK_BUS_URL=server_url, ARK_HTTP_PORT=str(free_port())) as process:
        assert process.stdout is not None
        lines = iter(process.stdout.readline, "")
        assert "  one\n" in lines
        _word(client, "two")
        assert "  two\n" in lines
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=5)
    assert (process.returncode, errors) == (130, "")


@pytest.mark.parametrize(
    ("environment", "coloured"), [({}, True), ({"NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False)]
)
def test_status_is_coloured_on_a_terminal_unless_it_is_not_wanted(
    client: "redis.Redis", server_url: str, environment: dict[str, str], coloured: bool
) -> None:
    _word(client, "one")
    master, terminal = os.openpty()
    subprocess.run(
        [sys.executable, "-m", "processors.cli", "status"],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "ARK_BUS_URL": server_url, **environment},
        stdout=terminal,
        check=False,
    )
    os.close(terminal)
    output = os.read(master, 65_536).decode()
    os.close(master)
    assert ("\x1b[2m- down\x1b[0m" in output) == coloured
    assert "- down" in output


def test_the_command_knows_every_topic() -> None:
    with pytest.raises(SystemExit):
        main(["tail", "--help"])
    from processors import cli

    assert vars(cli)["_TOPICS"] == TOPICS


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_started_by_the_command_runs_until_sigterm(stage: str, server_url: str, tmp_path: Path) -> None:
    with _start(
        "run",
        stage,
        ARK_BUS_URL=server_url,
        ARK_STATE_DIR=str(tmp_path),
        ARK_HTTP_PORT=str(free_port()),
        FEDERATION_PORT=str(free_port()),
    ) as process:
        assert process.stderr is not None
        line = eventually(process.stderr.readline)
        assert re.search(rf"ark_pulse\.{stage}\[\d+\]: running on ", line)
        process.terminate()
        assert process.wait(5) == 0
        process.stderr.read()
