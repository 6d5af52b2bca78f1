"""Several gateways on one port, as an operator starts them."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.servers import free_port
from tests.stack import wait_for

ARK_PULSE = Path(sys.executable).parent / "ark-pulse"


@pytest.fixture
def gateway(server_url: str, tmp_path: Path) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """The parent of two workers, and their port."""
    port = free_port()
    settings = {"ARK_BUS_URL": server_url, "ARK_STATE_DIR": str(tmp_path), "ARK_HTTP_PORT": str(port)}
    with subprocess.Popen([ARK_PULSE, "run", "gateway", "--workers", "2"], env=os.environ | settings) as parent:
        try:
            yield parent, port
        finally:
            parent.kill()


def workers_of(parent: subprocess.Popen[bytes], port: int) -> set[int]:
    """Those that listen, once both do."""

    def both() -> set[int] | None:
        children = Path(f"/proc/{parent.pid}/task/{parent.pid}/children").read_text().split()
        listening = {int(child) for child in children if listens(int(child), port)}
        return listening if len(listening) == 2 else None

    return wait_for("two workers listen", both, 20)


def listens(pid: int, port: int) -> bool:
    """Whether a process has a socket that listens on `port`."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    inodes = {row[9] for row in rows if row[3] == "0A" and row[1].endswith(f":{port:04X}")}
    try:
        files = [str(file.readlink()) for file in Path(f"/proc/{pid}/fd").iterdir()]
    except OSError:
        return False  # it has ended, or opened and closed a file meanwhile
    return any(f"socket:[{inode}]" in files for inode in inodes)


def test_workers_share_a_port_and_one_that_is_killed_is_started_again(
    gateway: tuple[subprocess.Popen[bytes], int],
) -> None:
    parent, port = gateway
    before = workers_of(parent, port)
    os.kill(min(before), signal.SIGKILL)
    wait_for("it is gone", lambda: not listens(min(before), port))
    after = workers_of(parent, port)
    assert len(after - before) == 1
    parent.terminate()
    assert parent.wait(10) == 0
    assert not any(listens(pid, port) for pid in after)
