"""Small questions to the world: is a port free, what does a web address answer."""

import asyncio
import errno
import socket
import time
from typing import Final, NamedTuple

from processors.runtime.errors import SETTING_REFUSED, PulseError, SettingsError

__all__ = ["Answer", "PortTaken", "address", "bind", "check_port", "http_get"]

_POLL_S: Final = 0.05
_MAX_ANSWER: Final = 4 << 20


class PortTaken(PulseError):
    """A port that we were to listen on is in use. `setting` names it."""

    exit_code = SETTING_REFUSED

    def __init__(self, setting: str, host: str, port: int) -> None:
        super().__init__(f"{setting}: {address(host, port)} is already in use")
        self.setting = setting


class Answer(NamedTuple):
    """What a web server answered."""

    status: int
    body: bytes


def address(host: str, port: int) -> str:
    """`host:port`, as it is written in a web address."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def check_port(setting: str, host: str, port: int, *, wait_s: float = 0) -> None:
    """Return if `host`:`port` can be listened on, at last after `wait_s`; blocks. `setting`: what stands before _PORT.

    Raises PortTaken: if another process listens there. Raises SettingsError: if the address is none of this machine,
    or may not be used.
    """
    deadline = time.monotonic() + wait_s
    while True:
        try:
            bind(host, port)
        except OSError as error:
            if error.errno == errno.EADDRNOTAVAIL or isinstance(error, socket.gaierror):
                raise SettingsError(f"{setting}_HOST", f"is no address of this machine: {host}") from error
            if error.errno != errno.EADDRINUSE:
                raise SettingsError(f"{setting}_PORT", f"cannot be listened on: {error.strerror}") from error
            if time.monotonic() >= deadline:
                raise PortTaken(f"{setting}_PORT", host, port) from error
            time.sleep(_POLL_S)  # nothing announces a port that becomes free
        else:
            return


def bind(host: str, port: int) -> int:
    """A port that can be listened on now: `port`, or any free one for 0. Raises OSError: if it cannot."""
    free = port
    for family, kind, protocol, _, where in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM):
        with socket.socket(family, kind, protocol) as probe:
            # As servers do it: connections that linger after their end do not count as a listener.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(where)
            free = probe.getsockname()[1]
    return free


async def http_get(host: str, port: int, path: str) -> Answer | None:
    """What `http://host:port/path` answers; None if it is no web server that does.

    Written out, because an HTTP client would double the memory of the supervisor, which asks one question. Give it a
    deadline: it has none. Raises OSError: if nobody listens there. Cancellation: safe.
    """
    reader, writer = await asyncio.open_connection(host, port)
    try:
        # HTTP/1.0: the answer ends where the connection does, and is not cut into chunks.
        writer.write(f"GET {path} HTTP/1.0\r\nHost: {address(host, port)}\r\n\r\n".encode())
        head = await reader.readuntil(b"\r\n\r\n")
        body = bytearray()
        while len(body) < _MAX_ANSWER and (part := await reader.read(65_536)):
            body += part
    except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
        return None
    finally:
        writer.close()
    words = head.split(maxsplit=2)
    if len(words) < 2 or not words[0].startswith(b"HTTP/") or not words[1].isdigit():
        return None
    return Answer(int(words[1]), bytes(body))
