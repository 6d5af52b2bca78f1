"""`ark-pulse up`, really run: what it starts, how it ends, and what it leaves behind."""

import contextlib
import os
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis

from tests.integration.up import Up, alive, eventually

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="children are tied to their parent on Linux only")

MakeUp = Callable[..., Up]


@pytest.fixture
def make_up(tmp_path: Path) -> Iterator[MakeUp]:
    made: list[Up] = []

    def make(**workers: str) -> Up:
        made.append(Up(tmp_path, **workers))
        return made[-1]

    yield make
    for up in made:
        up.clean_up()


def test_it_prints_the_address_of_the_page_and_what_is_shown(make_up: MakeUp) -> None:
    up = make_up(gateway="web").start()
    eventually(lambda: up.output.count("\n") == 3)
    assert up.output == (
        f"ARK Pulse is at http://127.0.0.1:{up.environment['ARK_HTTP_PORT']}/\n"
        "It shows the federation mesh simulated, not yours; `ark-pulse doctor` tells why\n"
        "It shows the memory engine simulated, not yours; `ark-pulse doctor` tells why\n"
    )


def test_sigterm_ends_everything_with_exit_code_0(make_up: MakeUp) -> None:
    up = make_up(one="plain", two="plain").start().ready()
    everybody = up.everybody()
    up.signal(signal.SIGTERM)
    assert up.wait() == 0
    assert not any(alive(pid) for pid in everybody)


def test_an_orderly_end_removes_the_address_of_the_bus(make_up: MakeUp) -> None:
    up = make_up(one="plain").start().ready()
    up.signal(signal.SIGINT)
    up.wait()
    assert not (up.state / "bus.url").exists()


def test_a_worker_that_ignores_sigterm_is_killed_within_five_seconds(make_up: MakeUp) -> None:
    up = make_up(one="stubborn", two="plain").start().ready()
    everybody = up.everybody()
    began = time.monotonic()
    up.signal(signal.SIGTERM)
    assert up.wait(8) == 0
    assert time.monotonic() - began < 5
    assert not any(alive(pid) for pid in everybody)


def test_a_second_sigint_kills_at_once(make_up: MakeUp) -> None:
    up = make_up(one="stubborn", two="plain").start().ready()
    up.signal(signal.SIGINT)
    eventually(lambda: not alive(up.pids("two")[-1]))
    up.signal(signal.SIGINT)
    assert up.wait(1.5) == 130


def test_a_killed_up_leaves_no_process(make_up: MakeUp) -> None:
    up = make_up(one="plain", two="plain").start().ready()
    everybody = up.everybody()
    up.signal(signal.SIGKILL)
    up.wait()
    eventually(lambda: not any(alive(pid) for pid in everybody))


def test_up_starts_again_right_after_it_was_killed(make_up: MakeUp) -> None:
    up = make_up(gateway="web").start().ready()
    up.signal(signal.SIGKILL)
    up.wait()
    up.start()
    eventually(lambda: up.output.startswith("ARK Pulse is at"))


def test_a_killed_worker_is_back_within_two_seconds(make_up: MakeUp) -> None:
    up = make_up(one="plain", two="plain").start().ready()
    os.kill(up.pids("one")[0], signal.SIGKILL)
    eventually(lambda: len(up.pids("one")) == 2, 2)


def test_a_killed_worker_does_not_disturb_its_neighbours(make_up: MakeUp) -> None:
    up = make_up(one="plain", two="plain").start().ready()
    os.kill(up.pids("one")[0], signal.SIGKILL)
    eventually(lambda: len(up.pids("one")) == 2)
    assert len(up.pids("two")) == 1
    assert alive(up.pids("two")[0])


def test_the_log_tells_how_a_worker_ended_and_when_it_is_started_again(make_up: MakeUp) -> None:
    up = make_up(one="plain").start().ready()
    os.kill(up.pids("one")[0], signal.SIGKILL)
    eventually(lambda: "one ended: SIGKILL; starting it again in 0.1 s" in up.errors)


def test_a_program_that_does_not_exist_is_tried_again_and_named(make_up: MakeUp) -> None:
    up = make_up(one="plain")
    up.procfile.write_text(up.procfile.read_text() + "two: no-such-program\n")
    up.start()
    eventually(lambda: "two cannot be started: No such file or directory; starting it again in 0.2 s" in up.errors)


def test_a_killed_bus_is_back_at_its_address_with_its_data(make_up: MakeUp) -> None:
    up = make_up(one="plain").start().ready()
    before = up.bus_pid()
    with up.bus() as client:
        client.set("kept", "yes")
    os.kill(before, signal.SIGKILL)
    eventually(lambda: up.bus_pid() not in {0, before})
    with up.bus() as client:
        assert client.get("kept") == b"yes"


def test_a_taken_port_is_an_error_that_names_the_setting(make_up: MakeUp) -> None:
    up = make_up(one="plain")
    with socket.create_server(("127.0.0.1", 0)) as stranger:
        port = stranger.getsockname()[1]
        up.environment["ARK_HTTP_PORT"] = str(port)
        assert up.start().wait() == 3
    assert up.errors == f"ark-pulse: ARK_HTTP_PORT: 127.0.0.1:{port} is already in use\n"
    assert up.pids("one") == []


def test_a_setting_that_a_process_cannot_use_ends_up_with_code_3(make_up: MakeUp, server_url: str) -> None:
    up = make_up()
    up.procfile.write_text("aggregators: ark-pulse run aggregators\n")
    with redis.Redis.from_url(server_url) as client:
        client.flushall()
        client.set("ark:partitions", 8)
        up.environment["ARK_BUS_URL"] = server_url
        up.start()
        assert up.process is not None
        assert up.process.wait(10) == 3
        client.flushall()
    assert "ARK_PARTITIONS is 16, but this bus was made with 8" in up.errors
    assert "aggregators cannot use a setting, as it says above: ending" in up.errors


def test_with_the_federation_port_taken_it_goes_on_without_that_service(make_up: MakeUp) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        up = make_up(federation="plain", other="plain")
        up.environment["FEDERATION_PORT"] = str(port)
        up.start()
        eventually(lambda: up.pids("other"))
        up.signal(signal.SIGTERM)
        assert up.wait() == 0
    assert not up.pids("federation")
    assert (
        f"FEDERATION_PORT: 127.0.0.1:{port} is already in use: going on without the federation service; to follow that "
        f"one set ARK_FEDERATION_URL=http://127.0.0.1:{port}\n"
    ) in up.errors


def test_a_process_that_finds_its_port_taken_when_it_is_started_again_does_not_end_the_others(make_up: MakeUp) -> None:
    up = make_up(other="plain").start().ready()
    up.signal(signal.SIGTERM)
    up.wait()
    note = up.state / "runs"
    # It runs once, and says ever after that it cannot use a setting.
    line = f"changed: bash -c 'echo run >> {note}; test $(wc -l < {note}) -eq 1 || exit 3'\n"
    up.procfile.write_text(up.procfile.read_text() + line)
    up.start()
    eventually(lambda: note.exists() and len(note.read_text().split()) >= 3)
    assert alive(up.pids("other")[-1])


def test_a_second_up_in_the_same_state_directory_is_refused(make_up: MakeUp) -> None:
    first = make_up(one="plain").start().ready()
    second = subprocess.run(
        [sys.executable, "-m", "processors.cli", "up"], env=first.environment, capture_output=True, check=False
    )
    assert first.process is not None
    message = f"ark-pulse: ARK_STATE_DIR {first.state} is in use by process {first.process.pid}\n"
    assert (second.returncode, second.stderr.decode()) == (3, message)


def test_an_append_only_file_that_cannot_be_read_is_an_error_and_ends_up(make_up: MakeUp) -> None:
    up = make_up(one="plain").start().ready()
    with up.bus() as client:
        client.set("a", "b")
    up.signal(signal.SIGTERM)
    up.wait()
    [log] = (up.state / "bus" / "appendonlydir").glob("*.incr.aof")
    log.write_bytes(b"nonsense" + log.read_bytes())
    assert up.start().wait() == 1
    assert up.errors.startswith("ark-pulse: the embedded server ended at its start (exit code 1); ")
    assert "Bad file format reading the append only file" in up.errors


def test_a_given_bus_is_used_and_no_server_started(make_up: MakeUp, server_url: str) -> None:
    up = make_up(one="plain")
    up.environment["ARK_BUS_URL"] = server_url
    up.start().ready()
    environment = Path(f"/proc/{up.pids('one')[0]}/environ").read_text().split("\0")
    assert f"ARK_BUS_URL={server_url}" in environment
    assert not (up.state / "bus").exists()


def test_workers_are_told_the_address_of_the_embedded_server(make_up: MakeUp) -> None:
    up = make_up(one="plain").start().ready()
    environment = Path(f"/proc/{up.pids('one')[0]}/environ").read_text().split("\0")
    assert f"ARK_BUS_URL={up.bus_url}" in environment


def test_the_password_of_the_bus_is_on_no_command_line_and_in_no_log(make_up: MakeUp) -> None:
    up = make_up(one="plain").start().ready()
    password = (up.state / "bus.password").read_text()
    assert up.process is not None
    pids = [up.process.pid, *up.everybody()]
    shown = [Path(f"/proc/{pid}/cmdline").read_text() for pid in pids]
    shown += [up.output, up.errors, (up.state / "bus.log").read_text()]
    assert not [text for text in shown if password in text]


def test_what_holds_the_password_is_readable_by_its_user_only(make_up: MakeUp) -> None:
    up = make_up(one="plain").start().ready()
    modes = {name: stat.S_IMODE((up.state / name).stat().st_mode) for name in ("bus.url", "bus.password", "bus")}
    assert modes == {"bus.url": 0o600, "bus.password": 0o600, "bus": 0o700}


def test_a_wrong_password_is_refused(make_up: MakeUp) -> None:
    up = make_up(one="plain").start().ready()
    port = int((up.state / "bus.port").read_text())
    with (
        redis.Redis.from_url(f"redis://:guess@127.0.0.1:{port}/0") as client,
        pytest.raises(redis.exceptions.AuthenticationError),
    ):
        client.ping()


def test_a_missing_procfile_is_named(make_up: MakeUp) -> None:
    up = make_up()
    up.procfile.unlink()
    assert up.start().wait() == 1
    assert up.errors == f"ark-pulse: {up.procfile} cannot be read: No such file or directory\n"


def test_a_reader_of_its_output_that_goes_away_does_not_end_it(make_up: MakeUp) -> None:
    up = make_up(gateway="web")
    command = [sys.executable, "-m", "processors.cli", "up", "--procfile", str(up.procfile)]
    read_end, write_end = os.pipe()
    os.close(read_end)
    with contextlib.closing(os.fdopen(write_end, "wb")) as output:
        up.process = subprocess.Popen(command, env=up.environment, stdout=output, stderr=subprocess.DEVNULL)
    up.ready()
    eventually((up.state / "gateway.asked").exists)
    up.signal(signal.SIGTERM)
    assert up.wait() == 0
