"""What `receiver.c` does, where there is no C compiler: `python receiver.py PORT CLIENTS PATH MESSAGE [SAMPLES]`."""

import contextlib
import resource
import selectors
import socket
import struct
import sys
import time
from typing import BinaryIO, Final

_CHUNK: Final = 1 << 18
_HEAD: Final = 2
_PING: Final = 9
_PONG: Final = 10


def _frame(opcode: int, payload: bytes) -> bytes:
    """A client's frame of up to 64 KiB. Its mask is four zeros: it must be there, and changes nothing."""
    size = len(payload)
    head = bytes((0x80 | opcode, 0x80 | size)) if size < 126 else bytes((0x80 | opcode, 0xFE)) + size.to_bytes(2, "big")
    return head + bytes(4) + payload


class _Client:
    def __init__(self, number: int, port: int, path: str) -> None:
        self.number = number
        # What came and is no whole frame yet.
        self.rest = b""
        self.frames = 0
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.sendall(
            f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n".encode()
        )
        answer = b""
        while b"\r\n\r\n" not in answer:
            part = self.socket.recv(4096)
            assert part, f"the handshake was answered with {answer!r}"
            answer += part
        head, _, self.rest = answer.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 101"), head


class _Receiver:
    def __init__(self, samples: BinaryIO | None) -> None:
        self.clients: list[_Client] = []
        self._samples = samples
        # Seconds between two looks.
        self.nap_s = 0.0
        # Frames that each client is to have; 0 while nobody waits.
        self._expected = 0
        self._reset()

    def _reset(self) -> None:
        self._frames = self._bytes = self._reads = self._first_ns = self._last_ns = 0
        for client in self.clients:
            client.frames = 0

    def _report(self) -> None:
        self._expected = 0
        if self._samples is not None:
            self._samples.flush()
        print(
            f'{{"frames": {self._frames}, "bytes": {self._bytes}, "reads": {self._reads}, '
            f'"first_ns": {self._first_ns}, "last_ns": {self._last_ns}, "clients": {len(self.clients)}}}',
            flush=True,
        )

    def obey(self, line: str) -> None:
        if line.startswith("expect "):
            self._expected = int(line.split()[1])
            self.look()
            return
        if line == "reset":
            self._reset()
        if line.startswith("nap "):
            self.nap_s = int(line.split()[1]) / 1e6
        self._report()

    def look(self) -> None:
        """Report if that is what was waited for."""
        if self._expected and all(client.frames >= self._expected for client in self.clients):
            self._report()

    def take(self, client: _Client) -> bool:
        """Take what came; returns whether the client is still connected."""
        data = client.socket.recv(_CHUNK)
        if not data:
            self.clients.remove(client)
            self.look()
            return False
        self._reads += 1
        self.parse(client, client.rest + data)
        return True

    def parse(self, client: _Client, data: bytes) -> None:
        moment, at = time.monotonic_ns(), 0
        while len(data) - at >= _HEAD:
            size, start = data[at + 1], at + _HEAD
            if size >= 126:
                start += 2 if size == 126 else 8
                size = int.from_bytes(data[at + _HEAD : start], "big")
            if len(data) < start + size:
                break
            opcode = data[at] & 15
            at = start + size
            if opcode == _PING:
                client.socket.sendall(_frame(_PONG, data[start:at]))
            elif opcode <= 2:
                self._count(client, size, moment)
        client.rest = data[at:]

    def _count(self, client: _Client, size: int, moment: int) -> None:
        client.frames += 1
        self._frames += 1
        self._bytes += size
        self._first_ns, self._last_ns = self._first_ns or moment, moment
        if self._samples is not None:
            self._samples.write(struct.pack("=IIQ", client.number, client.frames, moment))
        if client.frames == self._expected:
            self.look()


def _main() -> None:
    port, count, path, message = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4].encode()
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    with contextlib.ExitStack() as resources:
        samples = resources.enter_context(open(sys.argv[5], "wb")) if sys.argv[5:] else None  # noqa: PTH123
        receiver = _Receiver(samples)
        selector = resources.enter_context(selectors.DefaultSelector())
        for number in range(count):
            client = _Client(number, port, path)
            if message:
                client.socket.sendall(_frame(1, message))
            receiver.clients.append(client)
            receiver.parse(client, client.rest)
            selector.register(client.socket, selectors.EVENT_READ, client)
        selector.register(sys.stdin, selectors.EVENT_READ)
        print("ready", flush=True)
        while True:
            time.sleep(receiver.nap_s)
            for key, _ in selector.select():
                if key.data is not None:
                    if not receiver.take(key.data):
                        selector.unregister(key.fileobj)
                elif line := sys.stdin.readline():
                    receiver.obey(line.strip())
                else:
                    return


if __name__ == "__main__":
    _main()
