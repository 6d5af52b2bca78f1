"""Traces: one trace from a source to a frame, nothing of what is no traceparent, no cost where none is asked for."""

import asyncio
import contextlib
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator, Mapping

import aiohttp
import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

from processors.collectors.delivery import Delivery
from processors.collectors.publisher import SourceBatch
from processors.collectors.status import SourceStatus
from processors.runtime import tracing
from processors.runtime.bus import Bus
from processors.runtime.clock import BusClock
from processors.runtime.errors import SettingsError
from processors.runtime.settings import load_settings
from processors.runtime.spans import OtlpRecorder, SpanRecorder
from processors.runtime.tracing import Trail, arriving, source_step
from schemas import codec, streams
from schemas.events import Event, Heartbeat, SyncOut
from tests.collectors.helpers import LIVE, until
from tests.gateway.support import eventually, running_gateway
from tests.integration.aggregation import aggregating
from tests.reading import entries_of
from tests.servers import free_port

FIRST = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
SECOND = b"00-0af7651916cd43dd8448eb211c80319c-00f067aa0ba902b7-01"


@pytest.fixture
def spans() -> Iterator[InMemorySpanExporter]:
    exporter = InMemorySpanExporter()
    tracing.record_to(SpanRecorder("test", 1.0, BusClock(), SimpleSpanProcessor(exporter)))
    yield exporter
    tracing.record_to(None)


@pytest.fixture
async def delivery(bus: Bus) -> AsyncIterator[Delivery]:
    status = SourceStatus("peers", "peers", node="n", changed=lambda status: None)
    made = Delivery(bus, "peers", LIVE, status)
    async with made.held():
        await made.resume()
        yield made


def finished(spans: InMemorySpanExporter) -> list[ReadableSpan]:
    return list(spans.get_finished_spans())


def attributes(span: ReadableSpan) -> Mapping[str, object]:
    assert span.attributes is not None
    return span.attributes


def parent_of(span: ReadableSpan, within: list[ReadableSpan]) -> ReadableSpan:
    assert span.parent is not None
    [parent] = [each for each in within if each.context.span_id == span.parent.span_id]
    return parent


def events(now: int) -> list[Event]:
    return [Heartbeat(peer="a", ts=now), SyncOut(ts=now, sender="a", target="b", bytes=1, ok=True)]


async def send(delivery: Delivery, *events: Event) -> None:
    await delivery.send(SourceBatch(delivery.signature(), list(events)))


async def test_a_heartbeat_is_one_trace_from_its_publishing_to_the_frame_of_each_channel(
    bus: Bus, server_url: str, delivery: Delivery, spans: InMemorySpanExporter
) -> None:
    channels = {"federation", "peers", "sync"}

    def told() -> set[object]:
        return {attributes(span)["channel"] for span in finished(spans) if span.name == "frame"}

    async with (
        running_gateway(bus) as gateway,
        aggregating(server_url),
        aiohttp.ClientSession() as session,
        session.ws_connect(gateway.v1_url) as client,
    ):
        await eventually(lambda: gateway.state.bus_answers and gateway.mesh.summary)
        await client.send_json({"op": "subscribe", "channels": sorted(channels), "rate": 0})
        await eventually(lambda: gateway.hub._places)
        began = bus.clock.now_ms()
        await send(delivery, *events(began))
        await until(lambda: told() == channels)
        ended = bus.clock.now_ms()
    made = finished(spans)
    assert len({span.context.trace_id for span in made}) == 1
    [publish] = [span for span in made if span.name == "publish"]
    assert publish.parent is None
    assert attributes(publish) == {"collector": "peers", "events": 2}
    writers = {"federation": streams.METRICS_FEDERATION, "sync": streams.FEED_SYNC}
    for span in made:
        if span.name == "frame":
            by = parent_of(span, made)
            assert attributes(span)["clients"] == 1
            if attributes(span)["channel"] == "peers":
                # The summary says where the roster comes from; which of the two came first is chance.
                assert by.name in {"commit", "append"}
            else:
                assert by.name == "append"
                assert attributes(by)["stream"] == writers[str(attributes(span)["channel"])]
        elif span.name == "append":
            assert parent_of(span, made).name == "commit"
        elif span.name == "commit":
            assert parent_of(span, made) is publish
            assert attributes(span)["partition"] == streams.partition_of("a", 16)
    # Together they are as long as it took.
    moments = [moment / 1e6 for span in made for moment in (span.start_time, span.end_time) if moment is not None]
    assert max(moments) - min(moments) <= ended - began + 1_000


@pytest.mark.parametrize("share", [0.0, 1.0])
async def test_the_share_says_which_source_batches_are_traced(
    bus: Bus, delivery: Delivery, spans: InMemorySpanExporter, share: float
) -> None:
    assert tracing._recorder is not None
    tracing._recorder.share = share
    for number in range(5):
        await send(delivery, Heartbeat(peer="a", ts=number + 1))
    entries = await entries_of(bus, streams.events_key(streams.partition_of("a", 16)))
    assert [b"tp" in fields for _, fields in entries] == [share == 1.0] * 5
    assert len(finished(spans)) == 5 * share


async def test_a_source_batch_without_events_is_not_traced(delivery: Delivery, spans: InMemorySpanExporter) -> None:
    await send(delivery)
    assert not finished(spans)


async def test_readers_read_an_entry_that_is_traced_as_any_other(
    bus: Bus, delivery: Delivery, spans: InMemorySpanExporter
) -> None:
    await send(delivery, Heartbeat(peer="a", ts=1))
    [(_, fields)] = await entries_of(bus, streams.events_key(streams.partition_of("a", 16)))
    [span] = finished(spans)
    assert fields[b"tp"].decode() == f"00-{span.context.trace_id:032x}-{span.context.span_id:016x}-01"
    assert codec.decode_events(fields).events == [Heartbeat(peer="a", ts=1)]


@pytest.mark.parametrize(
    "hostile",
    [
        b"",
        b"x" * 100_000,
        FIRST + b"-more",
        FIRST + b"\n",
        FIRST.upper(),
        b"01" + FIRST[2:],
        FIRST[:-2] + b"00",  # its producer does not sample it
        b"00-" + b"0" * 32 + FIRST[35:],
        FIRST[:36] + b"0" * 16 + b"-01",
        b"\xff" * 55,
    ],
    ids=["empty", "long", "longer", "newline", "capitals", "version", "not sampled", "no trace", "no span", "bytes"],
)
def test_what_is_no_traceparent_is_as_if_it_were_not_there(spans: InMemorySpanExporter, hostile: bytes) -> None:
    trail = Trail("commit")
    trail.note({b"tp": hostile})
    with trail.step() as traceparent:
        assert traceparent == ""
    assert not finished(spans)


def test_a_step_that_follows_from_several_entries_is_linked_to_the_first_eight(spans: InMemorySpanExporter) -> None:
    trail = Trail("commit")
    trail.note_all([(b"1-0", {b"tp": FIRST}), *[(b"2-0", {b"tp": SECOND})] * 20])
    with trail.step(partition="3"):
        pass
    [span] = finished(spans)
    assert span.parent is not None
    assert span.parent.span_id == int(FIRST[36:52], 16)
    assert [link.context.span_id for link in span.links] == [int(SECOND[36:52], 16)] * 7


def test_what_was_handed_on_is_not_handed_on_again(spans: InMemorySpanExporter) -> None:
    trail = Trail("commit")
    trail.note({b"tp": FIRST})
    with trail.step() as traceparent:
        assert traceparent.startswith(FIRST[:36].decode())
    with trail.step() as traceparent:
        assert traceparent == ""
    trail.note({b"tp": FIRST})
    trail.forget()
    trail.finish()
    assert len(finished(spans)) == 1


def test_only_what_arrives_at_this_moment_concerns_a_channel(spans: InMemorySpanExporter) -> None:
    trail, other = Trail("frame"), Trail("frame")
    with arriving([(b"1-0", {b"tp": FIRST})]):
        trail.note_arriving()
    other.note_arriving()
    other.finish(channel="other")
    trail.finish(channel="federation")
    assert [attributes(span) for span in finished(spans)] == [{"channel": "federation"}]


def test_a_step_that_fails_says_so_without_what_was_in_the_error(spans: InMemorySpanExporter) -> None:
    with pytest.raises(ConnectionError), source_step("peers", 1):
        raise ConnectionError("redis://user:secret@host")
    [span] = finished(spans)
    assert (span.status.status_code, span.status.description) == (StatusCode.ERROR, "ConnectionError")
    assert "secret" not in span.to_json()


def test_a_collector_of_traces_that_is_away_costs_one_line_and_no_delay(
    caplog: pytest.LogCaptureFixture,
) -> None:
    recorder = OtlpRecorder("test", f"http://user:secret@127.0.0.1:{free_port()}/v1/traces", 1.0, BusClock())
    tracing.record_to(recorder)
    try:
        for _ in range(3):
            began = time.thread_time()
            for _ in range(1_000):
                with source_step("peers", 1):
                    pass
            assert time.thread_time() - began < 1
            recorder._provider.force_flush()
        began = time.monotonic()
    finally:
        tracing.end_tracing()
    assert time.monotonic() - began < 10
    [line] = [record.getMessage() for record in caplog.records]
    assert line.startswith("traces cannot be sent to http://127.0.0.1:")
    assert "secret" not in line


def test_nothing_is_imported_unless_traces_are_asked_for() -> None:
    # redis-py imports its metrics by itself, where it is installed.
    program = (
        "import sys; from processors.runtime import process; import processors.gateway.service;"
        " import processors.aggregators.service, processors.collectors.service;"
        " ours = ('opentelemetry.exporter', 'opentelemetry.sdk.trace');"
        " print([name for name in sys.modules if name.startswith(ours)])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=30)
    assert done.stdout.strip() == "[]"


def test_packages_that_are_not_installed_are_named_with_the_command_that_installs_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delitem(sys.modules, "processors.runtime.spans")
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    settings = load_settings({"ARK_TRACES_URL": "http://localhost:4318/v1/traces"})
    with pytest.raises(SettingsError) as caught:
        tracing.start_tracing("gateway", settings, BusClock())
    assert str(caught.value) == (
        "ARK_TRACES_URL needs packages that are not installed (opentelemetry.sdk.trace): "
        ".venv/bin/pip install --constraint deploy/constraints.txt --editable '.[traces]'"
    )


@pytest.mark.parametrize(("share", "read"), [("0", 0.0), ("1", 1.0), ("1.0", 1.0), ("0.01", 0.01), (".5", 0.5)])
def test_the_share_is_a_number_between_zero_and_one(share: str, read: float) -> None:
    assert load_settings({"ARK_TRACES_SHARE": share}).ark_traces_share == read


@pytest.mark.parametrize("share", ["-1", "1.5", "nan", "1e-3", "half", "0,5"])
def test_a_share_that_is_none_is_refused(share: str) -> None:
    with pytest.raises(SettingsError, match="must be a number between 0 and 1"):
        load_settings({"ARK_TRACES_SHARE": share})


@pytest.mark.parametrize("url", ["localhost:4318", "ftp://host/", "http://", "http://host:0/", "http://ho st/"])
def test_an_address_for_traces_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(SettingsError, match="ARK_TRACES_URL"):
        load_settings({"ARK_TRACES_URL": url})


async def test_a_trace_collector_gets_the_spans_as_otlp() -> None:
    from aiohttp import web
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    got: asyncio.Queue[ExportTraceServiceRequest] = asyncio.Queue()

    async def take(request: web.Request) -> web.Response:
        message = ExportTraceServiceRequest()
        message.ParseFromString(await request.read())
        got.put_nowait(message)
        return web.Response()

    app = web.Application()
    app.router.add_post("/v1/traces", take)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    url = f"http://127.0.0.1:{port}/v1/traces"
    recorder = await asyncio.to_thread(OtlpRecorder, "collectors", url, 1.0, BusClock())
    try:
        with recorder.span("publish", [FIRST], 1_000, {"collector": "peers"}):
            pass
        message = await asyncio.wait_for(got.get(), 5)
    finally:
        await asyncio.to_thread(recorder.stop)
        await runner.cleanup()
    [resource] = message.resource_spans
    names = {each.key: each.value.string_value for each in resource.resource.attributes}
    assert names["service.name"] == "ark-pulse-collectors"
    [span] = resource.scope_spans[0].spans
    assert (span.name, span.parent_span_id.hex()) == ("publish", FIRST[36:52].decode())


async def test_an_answer_of_a_trace_collector_that_never_ends_is_not_read() -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 9999999999\r\n\r\n")
        with contextlib.suppress(ConnectionError):
            while True:
                writer.write(b"x" * 65_536)
                await writer.drain()
                sent.append(65_536)
        writer.close()
        ended.set()

    sent: list[int] = []
    ended = asyncio.Event()
    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    recorder = await asyncio.to_thread(OtlpRecorder, "collectors", f"http://127.0.0.1:{port}", 1.0, BusClock())
    try:
        with recorder.span("publish", [FIRST], 1_000, {}):
            pass
        await asyncio.wait_for(ended.wait(), 5)
    finally:
        await asyncio.to_thread(recorder.stop)
        server.close()
    # What the kernel held when the connection was let go.
    assert sum(sent) < 16 << 20
