"""The whole system with a user for each process, on servers with the configuration and the ACLs of deploy/redis."""

import contextlib
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import redis

from schemas import streams
from tests.servers import Server, free_port
from tests.stack import Stack, wait_for

__all__ = ["DEPLOY", "Users", "acl_server", "make_users", "running_users"]

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
ARK_PULSE = Path(sys.executable).parent / "ark-pulse"
STAGES = ("collectors", "federation", "aggregators", "gateway")


def make_users(folder: Path, *arguments: str) -> dict[str, dict[str, str]]:
    """What `make-users` writes into `folder`: the setting in the file of each user."""
    subprocess.run(["sh", DEPLOY / "redis" / "make-users", folder, *arguments], check=True)
    files = {path.stem: path.read_text().strip().partition("=") for path in folder.glob("*.env")}
    return {user: {name: value} for user, (name, _, value) in files.items()}


class Users(Stack):
    """The processes, each started by itself with its own users' addresses; `settings` are by user."""

    def __init__(self, directory: Path, settings: dict[str, dict[str, str]], admins: dict[str, str]) -> None:
        super().__init__(directory, settings["ark-pulse-collectors"]["REDIS_URL"], {"ARK_SIMULATE": "never"})
        self._settings = settings
        # Addresses for the tests themselves: "bus" and "source".
        self.admins = admins
        self._processes: list[subprocess.Popen[bytes]] = []

    def environment_of(self, user: str) -> dict[str, str]:
        return {**self.environment, **self._settings.get(f"ark-pulse-{user}", {}), **self._settings[user]}

    def start(self) -> None:
        with self.log.open("ab") as log:
            for stage in STAGES:
                command: list[str | Path] = [ARK_PULSE, "run", stage]
                self._processes.append(
                    subprocess.Popen(command, env=self.environment_of(stage), stdout=log, stderr=log)
                )
                # Who comes to a new bus first notes how many partitions it has: not everybody may.
                wait_for("the bus is one", self._is_bus, 60)
        wait_for("the gateway is ready", lambda: self.status("/readyz") == 200, 60)
        wait_for("the federation service listens", self._federation_listens, 60)

    def _is_bus(self) -> bool:
        with redis.Redis.from_url(self.admins["bus"]) as admin:
            return bool(admin.exists(streams.PARTITIONS))

    def _federation_listens(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.federation_port)) == 0

    def end(self) -> None:
        for process in self._processes:
            process.terminate()
        for process in self._processes:
            process.wait(30)
        self._processes.clear()

    def allow(self, user: str, rules: Sequence[str]) -> None:
        """Give a user of the bus further rules."""
        with redis.Redis.from_url(self.admins["bus"]) as admin:
            admin.execute_command("ACL", "SETUSER", user, *rules)

    def denied(self) -> list[dict[str, Any]]:
        """What the servers refused to anybody since they started."""
        found = []
        for url in self.admins.values():
            with redis.Redis.from_url(url, decode_responses=True) as admin:
                found += admin.acl_log()
        return [{name: each[name] for name in ("username", "object")} for each in found]


@contextlib.contextmanager
def acl_server(binary: str, folder: Path, port: int, acl: str, *options: str) -> Iterator[str]:
    """A server with an ACL file of `folder`, and beside it an admin for the test, whose address it yields."""
    with (folder / acl).open("a") as file:
        file.write("user admin on >admin ~* &* +@all\n")
    server = _Configured(binary, folder, *options, "--aclfile", str(folder / acl), port=port)
    server.start()
    try:
        yield f"redis://admin:admin@127.0.0.1:{port}/0"
    finally:
        server.stop()


class _Configured(Server):
    """A server started by its configuration file, with what differs on the command line."""

    def start(self) -> None:
        self.process = subprocess.Popen(
            [self.binary, *self.options, "--port", str(self.port), "--dir", str(self.directory)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        admin = redis.Redis(port=self.port, username="admin", password="admin")
        deadline = time.monotonic() + 10
        with admin:
            while True:
                with contextlib.suppress(redis.exceptions.ConnectionError):
                    admin.ping()
                    return
                assert self.process.poll() is None, "the server ended at its start"
                assert time.monotonic() < deadline, "the server does not answer"
                time.sleep(0.01)


@contextlib.contextmanager
def running_users(directory: Path, binary: str) -> Iterator[Users]:
    """The processes on a bus and an ARK's Redis that are both `binary`, with the users of deploy/redis."""
    ports, folders = [free_port(), free_port()], [directory / "bus", directory / "source"]
    settings = make_users(folders[0], f"127.0.0.1:{ports[0]}")
    settings |= make_users(folders[1], f"127.0.0.1:{ports[1]}", "source.acl", "REDIS_URL")
    with contextlib.ExitStack() as stack:
        conf = str(DEPLOY / "redis" / "redis.conf")
        bus = stack.enter_context(acl_server(binary, folders[0], ports[0], "users.acl", conf))
        # ARK's Redis, told to notify as source.acl says.
        options = ("--notify-keyspace-events", "Kghxl", "--bind", "127.0.0.1")
        source = stack.enter_context(acl_server(binary, folders[1], ports[1], "source.acl", *options))
        users = Users(directory, settings, {"bus": bus, "source": source})
        stack.callback(users.end)
        users.start()
        yield users
