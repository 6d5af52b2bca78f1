"""Deliveries a second to a thousand WebSocket clients by one core: ours against other servers and a bare loop.

Each server is a process of its own on one core. It is told to send so many ticks, a text of about 700 bytes to each
client, as fast as it can; between ticks it waits as its library has it. All clients are one process on the other core
that does nothing but count (`peers/receiver.c`); what is timed goes from the first frame to the last of all of them,
and nothing may be missing. That they hold no server up is seen by their CPU, by that of the servers, and by the bare
loop, whose frames they take faster.

Ours is the gateway as it runs: summaries are written to its stream on a real server, and it reads, compares, encodes
and sends. The next one is written when all clients have the last but two: so there is always one to read, and hardly
ever two, which would go out in one write; that is seen by the writes of a frame. What it saves where changes come
faster than they can be sent is the last row.
"""

import contextlib
import shutil
import statistics
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from functools import partial
from typing import Final, NamedTuple

from tests.benchmarks.environments import PEERS, node_modules, python_of
from tests.benchmarks.gateways import running_gateway, subscribe, writes_of
from tests.benchmarks.idle import cpu_s
from tests.benchmarks.receiver import KIND, OTHERS, SERVER, Counted, Receiver, on_core, receiving
from tests.benchmarks.tables import table
from tests.servers import free_port

__all__ = ["measure"]

_CLIENTS: Final = 1_000
_ROUNDS: Final = 5
_SPAN_S: Final = 2.0
_WARM_TICKS: Final = 20
_NAP_US: Final = 3_000
# Of ours: summaries that are written ahead of what all clients have; so that each is read alone, or many at once.
_ONE_BY_ONE: Final = 3
_AT_ONCE: Final = 20
# The clients are taken to hold nobody up while they use less than this of their core.
_MOST_CPU: Final = 80
_OURS: Final = "ark-pulse, from Redis to the clients"
_JOINED: Final = f"the same, up to {_AT_ONCE} changes in one write"


class _Turn(NamedTuple):
    """What one server did in one round."""

    # Frames that all clients got in a second, and the bytes of one.
    rate: float
    size: float
    # Percent of a core: of the server, and of the clients.
    server: float
    clients: float
    # System calls that are counted as writes; about 0 of a server that uses another one, which is one a frame.
    writes: float


class _Sender(NamedTuple):
    """A server that runs: sends ticks to all clients of a receiver, and returns what was counted."""

    pid: int
    send: Callable[[Receiver, int], Counted]
    receiver: Receiver


@contextlib.contextmanager
def _peer(*command: str, **environment: str) -> Iterator[_Sender]:
    """A peer, which gets its port as the last argument and is told how many ticks to send."""
    port = free_port()
    with on_core(SERVER):
        process = subprocess.Popen(
            [*command, str(port)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment, text=True,
        )  # fmt: skip
    assert process.stdin is not None
    assert process.stdout is not None
    stdin = process.stdin

    def send(receiver: Receiver, ticks: int) -> Counted:
        print(ticks, file=stdin, flush=True)
        return receiver.expect(ticks)

    try:
        assert process.stdout.readline().strip() == "listening", f"{command} does not listen"
        with receiving(port, _CLIENTS, "/") as receiver:
            yield _Sender(process.pid, send, receiver)
    finally:
        process.kill()
        process.communicate()


@contextlib.contextmanager
def _ours(ahead: int) -> Iterator[_Sender]:
    with running_gateway() as rig:

        def send(receiver: Receiver, ticks: int) -> Counted:
            rig.heartbeat()
            for _ in range(min(ahead, ticks)):
                rig.change()
            for had in range(1, ticks - ahead + 1):
                receiver.expect(had)
                rig.change()
            return receiver.expect(ticks)

        with receiving(rig.port, _CLIENTS, "/ws", subscribe("federation", rate=0)) as receiver:
            receiver.expect(2)  # a welcome and a snapshot
            yield _Sender(rig.pid, send, receiver)


def _turn(server: Callable[[], AbstractContextManager[_Sender]]) -> _Turn:
    with server() as sender:
        receiver = sender.receiver
        receiver.nap(_NAP_US)
        receiver.reset()
        warm = sender.send(receiver, _WARM_TICKS)
        ticks = max(_WARM_TICKS, int(_SPAN_S * _WARM_TICKS / warm.took_s))
        receiver.reset()
        before = (cpu_s(sender.pid), receiver.cpu_s, writes_of(sender.pid))
        counted = sender.send(receiver, ticks)
        after = (cpu_s(sender.pid), receiver.cpu_s, writes_of(sender.pid))
    assert counted.clients == _CLIENTS, f"only {counted.clients} clients were left"
    assert counted.frames == ticks * _CLIENTS, f"{counted.frames} frames for {ticks} ticks"
    server_s, clients_s, writes = (b - a for a, b in zip(before, after, strict=True))
    shares = (100 * server_s / counted.took_s, 100 * clients_s / counted.took_s)
    return _Turn(counted.frames / counted.took_s, counted.bytes / counted.frames, *shares, writes / counted.frames)


def _servers() -> dict[str, Callable[[], AbstractContextManager[_Sender]]]:
    python = str(python_of("peers", PEERS / "requirements.txt"))
    peers = {
        "FastAPI, loop of `send_json`": "fastapi",
        "uvicorn, text encoded once, websockets": "uvicorn",
        "uvicorn, text encoded once, websockets-sansio": "uvicorn-sansio",
        "`websockets.broadcast`": "websockets",
        "aiohttp, loop of `send_str`": "aiohttp",
        "picows, loop of `send`": "picows",
        "bare loop of `send`, no server": "bare",
        "the same without TCP_NODELAY, which all others set": "bare-delayed",
    }
    servers: dict[str, Callable[[], AbstractContextManager[_Sender]]] = {
        name: partial(_peer, python, str(PEERS / "servers.py"), each) for name, each in peers.items()
    }
    modules, node = node_modules("node", PEERS / "package.json"), shutil.which("node")
    if modules is not None and node is not None:
        servers["Node's `ws`"] = partial(_peer, node, str(PEERS / "node_ws.cjs"), NODE_PATH=str(modules))
    return {**servers, _OURS: partial(_ours, _ONE_BY_ONE), _JOINED: partial(_ours, _AT_ONCE)}


def _row(name: str, turns: list[_Turn], ours: list[_Turn]) -> list[object]:
    middle = _Turn(*(statistics.median(values) for values in zip(*turns, strict=True)))
    ratio = statistics.median(mine.rate / turn.rate for mine, turn in zip(ours, turns, strict=True))
    rates = [turn.rate for turn in turns]
    clients = f"{middle.clients:.0f}" + (" (they may hold it up)" if middle.clients >= _MOST_CPU else "")
    spread = f"{min(rates) / 1e3:.0f}-{max(rates) / 1e3:.0f}"
    writes = f"{middle.writes:.2f}" if middle.writes > 0.01 else ""
    numbers = [f"{middle.rate / 1e3:.1f}", spread, f"{ratio:.2f}", f"{middle.size:.0f}", writes, f"{middle.server:.0f}"]
    return [name, *numbers, clients]


def measure() -> str:
    """The table."""
    servers = _servers()
    names = list(servers)
    turns: dict[str, list[_Turn]] = {name: [] for name in names}
    with on_core(OTHERS):
        for number in range(_ROUNDS):
            # Another one begins each time, and every second round goes backwards.
            order = names[number:] + names[:number]
            for name in order[:: -1 if number % 2 else 1]:
                turns[name].append(_turn(servers[name]))
    header = [f"{_CLIENTS:,} clients, {KIND}", "k deliveries/s", "least-most", "ours to it", "bytes", "writes a frame"]
    rows = [_row(name, turns[name], turns[_OURS]) for name in names]
    return table([*header, "CPU of the server, %", "CPU of the clients, %"], rows)
