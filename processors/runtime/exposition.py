"""The exposition: what a registry tells, as text over HTTP, in Prometheus' own format or as OpenMetrics.

Imported where it is served only: what it needs takes eleven MiB.
"""

import asyncio
from collections.abc import Iterable, Iterator
from functools import partial
from itertools import accumulate
from typing import Any, Final

from aiohttp import web
from prometheus_client import REGISTRY
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from processors.runtime.http import HttpServer, adding_headers, errors_as_json, send_within
from processors.runtime.metrics import BOUNDS_S, Histogram, Sample
from processors.runtime.registry import MetricsRegistry
from processors.runtime.settings import LOOPBACK

__all__ = ["ExpositionServer", "expose", "exposed"]

_KINDS: Final[dict[str, Any]] = {
    "counter": CounterMetricFamily,
    "gauge": GaugeMetricFamily,
    "histogram": HistogramMetricFamily,
}
_SEND_S: Final = 10.0
# What is larger is a foreign hand's: Prometheus has floats only.
_MOST: Final = 2**64
_HEADERS: Final = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}


class _Told(Collector):
    """`samples`, and after them what the library tells of the process, Python and its garbage collector."""

    def __init__(self, samples: Iterable[Sample]) -> None:
        self._samples = samples

    def collect(self) -> Iterator[Metric]:
        yield from _families(self._samples)
        yield from REGISTRY.collect()


def _families(samples: Iterable[Sample]) -> Iterable[Metric]:
    found: dict[str, Any] = {}
    for (name, kind, about, labels), values, value in samples:
        family = found.get(name)
        if family is None:
            family = found[name] = _KINDS[kind](name, about, labels=labels)
        if isinstance(value, Histogram):
            family.add_metric(values, buckets=_buckets(value), sum_value=value.sum_s)
        elif abs(value) < _MOST:
            family.add_metric(values, value)
    return found.values()


def _buckets(histogram: Histogram) -> list[tuple[str, float]]:
    ends = [*map(str, BOUNDS_S), "+Inf"]
    return list(zip(ends, accumulate(histogram.counts), strict=True))


def expose(samples: Iterable[Sample], accept: str) -> tuple[bytes, str]:
    """Text of `samples` and of the process, and its media type: the one that the header `accept` asks for. Blocks."""
    try:
        encode, kind = choose_encoder(accept)
    except (TypeError, ValueError):  # a version that is no number
        encode, kind = choose_encoder("")
    return encode(_Told(samples)), kind


async def exposed(registry: MetricsRegistry, request: web.Request) -> web.StreamResponse:
    """Answer `request` with what `registry` tells; who does not read it is cut off. Cancellation: safe."""
    samples = await registry.samples()
    # In a thread: it reads files, and many partitions take it a while.
    body, kind = await asyncio.to_thread(expose, samples, request.headers.get("Accept", ""))
    answer = web.Response(body=body, headers={"Content-Type": kind})
    await send_within(_SEND_S, request, answer)
    return answer


class ExpositionServer(HttpServer):
    """`/metrics` on a port of its own. Whoever reaches `host` may ask."""

    def __init__(self, registry: MetricsRegistry, host: str) -> None:
        app = web.Application(middlewares=[errors_as_json(loopback_only=host in LOOPBACK)])
        app.on_response_prepare.append(adding_headers(_HEADERS))
        app.router.add_get("/metrics", partial(exposed, registry))
        super().__init__(app, "ARK_METRICS_PORT")
