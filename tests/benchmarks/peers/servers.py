"""The Python peers of the benchmark `fanout`: `python servers.py NAME PORT`, in the environment of requirements.txt.

Each listens on loopback, prints "listening", and for each number on its standard input sends so many ticks, as fast as
it can, to all clients: a body of about 700 bytes, which is encoded once a tick unless the peer encodes it for each
client. Between ticks it waits as its library has it. uvloop is the event loop of all of them.
"""

import asyncio
import base64
import hashlib
import json
import socket
import sys
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final

import uvloop

_HOST: Final = "127.0.0.1"
_BODY: Final[dict[str, Any]] = json.loads(Path(__file__).with_name("body.json").read_text(encoding="utf-8"))
# RFC 6455, 4.2.2.
_GUID: Final = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"

Send = Callable[[int], Awaitable[None]]


def _text(number: int) -> str:
    return json.dumps(_BODY | {"ts": number}, separators=(",", ":"))


async def _obey(send: Send) -> None:
    """Send as many ticks as each line says, until the standard input ends."""
    print("listening", flush=True)
    while line := await asyncio.to_thread(sys.stdin.readline):
        for number in range(int(line)):
            await send(number)


async def _uvicorn(app: Any, port: int, send: Send, protocol: str) -> None:
    import uvicorn  # type: ignore[import-not-found]

    config = uvicorn.Config(app, host=_HOST, port=port, ws=protocol, lifespan="off", log_level="warning")
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve())
    while not server.started:  # noqa: ASYNC110  it has no event for it
        await asyncio.sleep(0.01)
    await _obey(send)
    serving.cancel()


async def _fastapi(port: int) -> None:
    """A loop of `send_json`, as its documentation shows it."""
    from fastapi import FastAPI, WebSocket, WebSocketDisconnect  # type: ignore[import-not-found]

    app = FastAPI()
    clients: list[WebSocket] = []

    async def serve(client: WebSocket) -> None:
        await client.accept()
        clients.append(client)
        try:
            while True:
                await client.receive_text()
        except WebSocketDisconnect:
            clients.remove(client)

    async def send(number: int) -> None:
        body = _BODY | {"ts": number}
        for client in clients:
            await client.send_json(body)

    app.websocket("/")(serve)
    await _uvicorn(app, port, send, "auto")


async def _asgi(port: int, protocol: str) -> None:
    """Text that is encoded once, by uvicorn alone."""
    sends: list[Callable[[dict[str, str]], Awaitable[None]]] = []

    async def app(_scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        sends.append(send)
        while (await receive())["type"] != "websocket.disconnect":
            pass
        sends.remove(send)

    async def send(number: int) -> None:
        message = {"type": "websocket.send", "text": _text(number)}
        for each in sends:
            await each(message)

    await _uvicorn(app, port, send, protocol)


async def _websockets(port: int) -> None:
    """`websockets.broadcast`, which never waits: the loop writes what is left between the ticks."""
    from websockets.asyncio.server import broadcast, serve  # type: ignore[import-not-found]

    async with serve(lambda client: client.wait_closed(), _HOST, port, compression=None) as server:

        async def send(number: int) -> None:
            broadcast(server.connections, _text(number))
            await asyncio.sleep(0)

        await _obey(send)


async def _aiohttp(port: int) -> None:
    """A loop of `send_str`, which waits for a client whose buffer is full."""
    from aiohttp import web

    clients: list[web.WebSocketResponse] = []

    async def serve(request: web.Request) -> web.WebSocketResponse:
        client = web.WebSocketResponse(compress=False)
        await client.prepare(request)
        clients.append(client)
        async for _ in client:
            pass
        clients.remove(client)
        return client

    async def send(number: int) -> None:
        text = _text(number)
        for client in clients:
            await client.send_str(text)

    app = web.Application()
    app.router.add_get("/", serve)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, _HOST, port).start()
    await _obey(send)


async def _picows(port: int) -> None:
    """A loop of `send`, which never waits."""
    from picows import WSListener, WSMsgType, WSTransport, ws_create_server  # type: ignore[import-not-found]

    clients: list[WSTransport] = []

    class Listener(WSListener):  # type: ignore[misc]  # its base is unknown here
        def on_ws_connected(self, transport: WSTransport) -> None:
            clients.append(transport)

    async def send(number: int) -> None:
        body = _text(number).encode()
        for client in clients:
            client.send(WSMsgType.TEXT, body)
        await asyncio.sleep(0)

    await ws_create_server(lambda _request: Listener(), _HOST, port)
    await _obey(send)


def _accept(listener: socket.socket, clients: list[socket.socket], no_delay: bool) -> None:
    while True:
        client, _ = listener.accept()
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, no_delay)
        request = b""
        while not request.endswith(b"\r\n\r\n"):
            request += client.recv(4096)
        key = request.split(b"Sec-WebSocket-Key: ")[1].split(b"\r\n")[0].decode()
        accept = base64.b64encode(hashlib.sha1((key + _GUID).encode()).digest()).decode()
        clients.append(client)
        client.sendall(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: " + accept.encode() + b"\r\n\r\n"
        )


def _bare(port: int, *, no_delay: bool) -> None:
    """Plain sockets that block, no event loop: what the kernel and a loop of Python take, and nothing else.

    Without `no_delay`, which every server of WebSockets sets, the kernel keeps a frame back while an earlier one is on
    its way, and joins them: most of its work is left out.
    """
    clients: list[socket.socket] = []
    listener = socket.create_server((_HOST, port), backlog=1_024)
    threading.Thread(target=_accept, args=(listener, clients, no_delay), daemon=True).start()
    print("listening", flush=True)
    for line in sys.stdin:
        for number in range(int(line)):
            body = _text(number).encode()
            frame = b"\x81\x7e" + len(body).to_bytes(2, "big") + body
            for client in clients:
                client.send(frame)


_PEERS: Final[dict[str, Callable[[int], Awaitable[None]]]] = {
    "fastapi": _fastapi,
    "uvicorn": lambda port: _asgi(port, "websockets"),
    "uvicorn-sansio": lambda port: _asgi(port, "websockets-sansio"),
    "websockets": _websockets,
    "aiohttp": _aiohttp,
    "picows": _picows,
}


async def _run(name: str, port: int) -> None:
    await _PEERS[name](port)


def main() -> None:
    """Serve as the peer that the command line names."""
    name, port = sys.argv[1], int(sys.argv[2])
    if name.startswith("bare"):
        _bare(port, no_delay=name == "bare")
    else:
        uvloop.run(_run(name, port))


if __name__ == "__main__":
    main()
