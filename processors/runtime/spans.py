"""Spans: what is traced, sent by OpenTelemetry over HTTP from a thread of its own.

Delivery: at most once. Overflow: 2,048 spans wait at most, the oldest are dropped; so is what cannot be sent within a
second. Imported only where ARK_TRACES_URL is set: its packages are an extra.
"""

import logging
import platform
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

import requests
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from opentelemetry.trace import Link, NonRecordingSpan, SpanContext, Status, StatusCode, TraceFlags, set_span_in_context

from processors.runtime.clock import BusClock
from processors.runtime.logging import get_logger
from processors.runtime.settings import hide_password
from processors.runtime.tracing import Attributes

__all__ = ["OtlpRecorder", "SpanRecorder"]

_SEND_S: Final = 1.0
_MOST_WAITING: Final = 2_048

_logger = get_logger("traces")


class SpanRecorder:
    """Makes spans, for `processor` to deal with."""

    def __init__(self, stage: str, share: float, clock: BusClock, processor: SpanProcessor) -> None:
        self.share = share
        self.clock = clock
        resource = Resource.create({"service.name": f"ark-pulse-{stage}", "host.name": platform.node()})
        self._provider = TracerProvider(sampler=ALWAYS_ON, resource=resource, shutdown_on_exit=False)
        self._provider.add_span_processor(processor)
        self._tracer = self._provider.get_tracer("ark_pulse")

    @contextmanager
    def span(self, name: str, parents: list[bytes], since_ns: int, attributes: Attributes) -> Iterator[str]:
        """See `tracing.Recorder`."""
        first, *others = map(_context, parents) if parents else (None,)
        parent = Context() if first is None else set_span_in_context(NonRecordingSpan(first), Context())
        links = [Link(other) for other in others if other is not None]
        span = self._tracer.start_span(name, parent, links=links, attributes=attributes, start_time=since_ns)
        own = span.get_span_context()
        try:
            yield f"00-{own.trace_id:032x}-{own.span_id:016x}-01"
        except BaseException as error:
            # Its text may hold what is nobody's business; the log has it.
            span.set_status(Status(StatusCode.ERROR, type(error).__name__))
            raise
        finally:
            span.end(max(since_ns, self.clock.now_ns()))

    def stop(self) -> None:
        """See `tracing.Recorder`."""
        # By itself it waits for half a minute.
        stopping = threading.Thread(target=self._provider.shutdown, daemon=True)
        stopping.start()
        stopping.join(_SEND_S)


class OtlpRecorder(SpanRecorder):
    """Sends the spans to `url`, in the background."""

    def __init__(self, stage: str, url: str, share: float, clock: BusClock) -> None:
        # It has a line for each attempt, with the address.
        logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)
        sender = OTLPSpanExporter(endpoint=url, timeout=_SEND_S, session=_HeadsOnly())
        exporter = _TellingExporter(sender, hide_password(url))
        super().__init__(
            stage,
            share,
            clock,
            BatchSpanProcessor(exporter, max_queue_size=_MOST_WAITING, schedule_delay_millis=1_000),
        )


class _HeadsOnly(requests.Session):
    """Reads of an answer its head only: a body without an end would fill the memory, or never let go."""

    def send(self, request: requests.PreparedRequest, **kwargs: Any) -> requests.Response:
        answer = super().send(request, **(kwargs | {"stream": True}))
        answer.close()
        return answer


class _TellingExporter(SpanExporter):
    """Logs once that spans cannot be sent, and once that they can be again."""

    def __init__(self, exporter: SpanExporter, name: str) -> None:
        self._exporter = exporter
        # The address, fit for logs.
        self._name = name
        self._failing = False

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        result = self._exporter.export(spans)
        failing = result is not SpanExportResult.SUCCESS
        if failing and not self._failing:
            _logger.warning("traces cannot be sent to %s, they are dropped until they can", self._name)
        elif self._failing and not failing:
            _logger.info("traces are sent to %s again", self._name)
        self._failing = failing
        return result

    def shutdown(self) -> None:
        self._exporter.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        return self._exporter.force_flush(timeout_millis)


def _context(traceparent: bytes) -> SpanContext:
    _, trace_id, span_id, flags = traceparent.decode().split("-")
    return SpanContext(int(trace_id, 16), int(span_id, 16), is_remote=True, trace_flags=TraceFlags(int(flags, 16)))
