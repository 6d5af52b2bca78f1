"""A tenth of a thousand clients never reads: what the others notice of it.

From before a change is written to the bus until it is at a client that reads, for each of them and each change; with
those that never read, and without them. They have small receive buffers, and before anything is timed they are sent so
much that the gateway holds them back. All who read must get every change.
"""

import contextlib
import socket
import statistics
import struct
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

from tests.benchmarks.gateways import GatewayRig, running_gateway, subscribe, writes_of
from tests.benchmarks.receiver import OTHERS, on_core, receiving
from tests.benchmarks.tables import quantile, table

__all__ = ["measure"]

_READING: Final = 900
_DEAF: Final = 100
_ROUNDS: Final = 3
_CHANGES: Final = 200
_PAUSE_S: Final = 0.05
# More than fits into the sockets' buffers of one connection, in frames of 700 bytes; written this many at a time.
_FILL: Final = 800
_AHEAD: Final = 5
_BEAT: Final = 50
_SAMPLE: Final = struct.Struct("=IIQ")
_RECEIVE_BUFFER: Final = 2_048


def _deaf(port: int) -> socket.socket:
    """A client that asks for every change, and never reads again."""
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER)
    client.connect(("127.0.0.1", port))
    client.sendall(
        b"GET /ws HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
    )
    assert client.recv(12) == b"HTTP/1.1 101"
    message = subscribe("federation", rate=0).encode()
    client.sendall(bytes((0x81, 0x80 | len(message))) + bytes(4) + message)
    return client


@contextlib.contextmanager
def _deaf_clients(port: int, count: int) -> Iterator[None]:
    with contextlib.ExitStack() as sockets:
        for _ in range(count):
            sockets.enter_context(_deaf(port))
        yield


def _delays_ms(samples: Path, written_ns: list[int]) -> list[float]:
    """Of each frame of each client, from the change to the frame; those before the changes that count are left out."""
    delays = [
        (at - written_ns[number - _FILL - 1]) / 1e6
        for _, number, at in _SAMPLE.iter_unpack(samples.read_bytes())
        if number > _FILL
    ]
    assert len(delays) == _READING * len(written_ns), "a client that reads was left out of a change"
    return delays


class _Turn(NamedTuple):
    """While so many never read."""

    # Of each delivery to who reads.
    delays_ms: list[float]
    # The gateway's writes for each change: who does not read is not written to.
    writes: float


def _turn(deaf: int) -> _Turn:
    with tempfile.TemporaryDirectory() as directory, running_gateway() as rig, _deaf_clients(rig.port, deaf):
        samples = Path(directory) / "samples"
        with receiving(rig.port, _READING, "/ws", subscribe("federation", rate=0), samples) as receiver:
            receiver.expect(2)  # a welcome and a snapshot
            receiver.reset()
            rig.heartbeat()
            for number in range(_AHEAD, _FILL + 1, _AHEAD):
                if number % _BEAT == 0:
                    rig.heartbeat()  # or what becomes stale would be one more frame
                for _ in range(_AHEAD):
                    rig.change()
                receiver.expect(number)
            before = writes_of(rig.pid)
            written_ns = _write(rig)
            receiver.expect(_FILL + _CHANGES)
            writes = (writes_of(rig.pid) - before) / _CHANGES
        return _Turn(_delays_ms(samples, written_ns), writes)


def _write(rig: GatewayRig) -> list[int]:
    """Write the changes that count, one at a time; returns the moments before each."""
    written_ns = []
    for number in range(_CHANGES):
        if number % _BEAT == 0:
            rig.heartbeat()
        written_ns.append(time.monotonic_ns())
        rig.change()
        time.sleep(_PAUSE_S)
    return written_ns


def measure() -> str:
    """The table."""
    turns: dict[int, list[_Turn]] = {0: [], _DEAF: []}
    with on_core(OTHERS):
        for number in range(_ROUNDS):
            for deaf in (0, _DEAF) if number % 2 else (_DEAF, 0):
                turns[deaf].append(_turn(deaf))
    rows: list[list[object]] = []
    for deaf, each in turns.items():
        shares = (statistics.median(quantile(turn.delays_ms, share) for turn in each) for share in (0.5, 0.99, 1.0))
        writes = statistics.median(turn.writes for turn in each)
        rows.append([deaf, *(f"{share:.1f}" for share in shares), f"{writes:.0f}", ""])
    p99s = [[quantile(turn.delays_ms, 0.99) for turn in each] for each in turns.values()]
    ratios = [with_them / without for without, with_them in zip(*p99s, strict=True)]
    rows[-1][-1] = f"{statistics.median(ratios):.2f} (<= 1.2), {min(ratios):.2f} to {max(ratios):.2f}"
    header = [f"clients that never read, beside {_READING}", "p50 ms", "p99 ms", "max ms", "writes a change"]
    return table([*header, "p99 with them to p99 without"], rows)
