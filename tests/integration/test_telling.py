"""What a whole system says of itself beside its metrics: its traces, and a log that does not grow with the traffic."""

import contextlib
import json
import re
import socket
import subprocess
import sys
import time
import urllib.request
from collections import defaultdict
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any, Final, NamedTuple

import pytest
import redis
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from tests.servers import Server, free_port
from tests.stack import Stack, running_stack, wait_for

ROOT: Final = Path(__file__).parent.parent.parent
SECRET: Final = "shibboleth"
FIELDS: Final = {"time", "level", "stage", "pid", "logger", "message"}
STAGES: Final = {"collectors": "publish", "aggregators": "commit append", "gateway": "frame"}


class TraceCollector(ThreadingHTTPServer):
    """Takes spans by OTLP over HTTP, on loopback."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Request)
        # By trace: the service and the span, as they came.
        self.traces: dict[bytes, list[tuple[str, Span]]] = defaultdict(list)

    def complete(self) -> list[tuple[str, Span]] | None:
        """A trace that went all the way."""
        wanted = {name for names in STAGES.values() for name in names.split()}
        return next((spans for spans in list(self.traces.values()) if wanted <= {span.name for _, span in spans}), None)


class _Request(BaseHTTPRequestHandler):
    server: TraceCollector

    def do_POST(self) -> None:
        message = ExportTraceServiceRequest.FromString(self.rfile.read(int(self.headers["Content-Length"])))
        for told in message.resource_spans:
            names = {each.key: each.value.string_value for each in told.resource.attributes}
            for span in [span for scope in told.scope_spans for span in scope.spans]:
                self.server.traces[span.trace_id].append((names["service.name"], span))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Nobody reads it."""


class System(NamedTuple):
    stack: Stack
    source: Server
    collector: TraceCollector

    def lines(self) -> list[dict[str, Any]]:
        """What the processes have logged. What `up` prints for its user is no log."""
        text = self.stack.log.read_text(encoding="utf-8")
        return [json.loads(line) for line in text.splitlines() if line.startswith("{")]


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    collector = TraceCollector()
    Thread(target=collector.serve_forever, daemon=True).start()
    # As docs/monitoring.md has it.
    [settings] = re.findall(
        r"^export (ARK_TRACES_URL)=\S+ (ARK_TRACES_SHARE)=\S+$",
        (ROOT / "docs" / "monitoring.md").read_text(encoding="utf-8"),
        re.MULTILINE,
    )
    values = (f"http://user:{SECRET}@127.0.0.1:{collector.server_port}/v1/traces", "1")
    environment = {**dict(zip(settings, values, strict=True)), "ARK_LOG_FORMAT": "json", "ARK_SIMULATE": "never"}
    try:
        with running_stack(tmp_path_factory.mktemp("telling"), **environment) as (stack, source):
            stack.federation(lambda summary: summary["source"] == "live")
            yield System(stack, source, collector)
    finally:
        collector.shutdown()
        collector.server_close()


def test_a_heartbeat_is_traced_through_all_processes(system: System) -> None:
    url = f"http://127.0.0.1:{system.stack.port}/sse?channels=federation"
    with urllib.request.urlopen(url, timeout=10) as client, redis.Redis.from_url(system.source.url) as ark:
        client.readline()

        def beat() -> list[tuple[str, Span]] | None:
            ark.hset("peer:a", mapping={"hostname": "a", "last_seen": time.time()})
            return system.collector.complete()

        spans = wait_for("a trace from source to frame", beat)
    by_id = {span.span_id: span for _, span in spans}
    for service, span in spans:
        assert span.name in STAGES[service.removeprefix("ark-pulse-")].split()
        if span.name != "publish":
            assert by_id[span.parent_span_id].name in {"publish", "commit", "append"}
            # To what two processes know of the bus's time.
            assert span.end_time_unix_nano >= by_id[span.parent_span_id].start_time_unix_nano - 20_000_000
    assert [span.parent_span_id for _, span in spans if span.name == "publish"] == [b""]


def test_a_thousand_events_and_a_thousand_that_are_none_add_no_line(system: System) -> None:
    before = len(system.lines())
    now = int(time.time() * 1000)
    with redis.Redis.from_url(system.source.url) as ark, ark.pipeline(transaction=False) as pipe:
        for number in range(500):
            pipe.hset(f"peer:evil-{number % 50}\n{number}", mapping={"hostname": "\x1b[2J", "latency": "not a number"})
            sync = {"timestamp": now, "source": "a", "target": "b", "event_type": "x", "bytes": 1, "success": True}
            pipe.lpush("sync_events", json.dumps(sync | {"n": number}))
            pipe.lpush("sync_events", f"this is no JSON\n{number}", json.dumps({"timestamp": now, "source": number}))
        pipe.execute()
    system.stack.federation(lambda summary: summary["sync_events_total"] >= 500)
    added = system.lines()[before:]
    assert len(added) <= 5, added


def test_clients_that_fail_a_thousand_times_add_no_line(system: System) -> None:
    before = len(system.lines())
    requests = [
        b"\x16\x03\x01\x00\xff this is no HTTP\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n",
        b"GET /nowhere\x1b[2J HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET /ws HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
        b"",
    ]
    for number in range(1_000):
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", system.stack.port)) as client:
            client.sendall(requests[number % len(requests)])
    wait_for("the gateway answers", lambda: system.stack.status("/readyz") == 200)
    added = system.lines()[before:]
    assert len(added) <= 2, added


def test_a_source_that_is_away_is_said_once_for_as_long_as_it_is(system: System) -> None:
    before = len(system.lines())
    system.source.stop()
    system.stack.federation(lambda summary: summary["source"] == "stale")
    lost = len(system.lines())
    time.sleep(2)  # how long it lasts is what is tried
    assert len(system.lines()) == lost
    system.source.start()
    system.stack.federation(lambda summary: summary["source"] == "live")
    messages = [line["message"] for line in system.lines()[before:]]
    for collector in ("peers", "sync_events"):
        assert sum(message.startswith(f"{collector} is stale") for message in messages) == 1
        assert sum(message.startswith(f"{collector} is live") for message in messages) == 1
    assert len(messages) <= 10, messages


def test_every_line_has_the_same_fields_and_none_a_password(system: System) -> None:
    lines = system.lines()
    assert {frozenset(line) for line in lines} == {frozenset(FIELDS)}
    assert {line["stage"] for line in lines} == {"up", "collectors", "federation", "aggregators", "gateway"}
    assert SECRET not in system.stack.log.read_text(encoding="utf-8")


def test_a_bus_that_is_away_from_the_start_is_said_once_and_without_its_password(tmp_path: Path) -> None:
    nobody = f"redis://user:{SECRET}@127.0.0.1:{free_port()}/0"
    environment = {
        "PATH": "",
        "ARK_BUS_URL": nobody,
        "REDIS_URL": nobody,
        "ARK_STATE_DIR": str(tmp_path),
        "ARK_LOG_LEVEL": "debug",
    }
    log = tmp_path / "log"
    with log.open("wb") as written:
        command = [str(Path(sys.executable).parent / "ark-pulse"), "run", "collectors"]
        process = subprocess.Popen(command, env=environment, stderr=written)
    try:
        wait_for("it waits for the bus", lambda: "waiting for the bus" in log.read_text(), 30)
        time.sleep(1)  # how long it lasts is what is tried
    finally:
        process.terminate()
        process.wait(10)
    assert len(log.read_text().splitlines()) == 2  # and `stopped`
    assert SECRET not in log.read_text()
