"""What answers on our ports: the gateway, the federation service, metrics."""

import asyncio
from collections.abc import Sequence
from typing import Final

from processors.runtime.checks.finding import Finding, ok, trouble, warning
from processors.runtime.checks.processes import listener
from processors.runtime.observation import Health, ask_gateway
from processors.runtime.probes import address, http_get
from processors.runtime.settings import Settings

__all__ = ["check_federation", "check_gateway", "check_metrics"]

_PROCESSES: Final = 4


async def check_gateway(settings: Settings) -> Sequence[Finding]:
    """Cancellation: safe."""
    where = address(settings.ark_http_host, settings.ark_http_port)
    try:
        health = await ask_gateway(settings)
    except OSError:
        return [trouble("gateway", "it-does-not-run", f"nothing listens on {where}", "start it with `ark-pulse up`")]
    if health is None:
        text = f"{where} is in use by {await _who(settings.ark_http_port)}"
        return [trouble("gateway", "a-port-is-taken", text, "end it, or set ARK_HTTP_PORT to a free port")]
    text = f"http://{where}/ answers: status {health.status}, source {health.source}"
    if health.status != "ok":
        return [warning("gateway", "the-gateway-is-degraded", text, "the other findings tell why"), *_clients(health)]
    return [ok("gateway", text), *_clients(health)]


def _clients(health: Health) -> Sequence[Finding]:
    """How they keep up, as far as the gateway tells it."""
    if not health.behind:
        return []  # who was closed once is no news
    text = f"{health.behind} read more slowly than they are sent, {health.closed_slow} were closed for it so far"
    return [warning("clients", "slow-clients", text, "let them read faster, or ask for less: `rate`, fewer channels")]


async def check_federation(settings: Settings) -> Sequence[Finding]:
    """Whether a federation service answers. The system works without: another one may be followed."""
    host, port = settings.federation_host, settings.federation_port
    where = address(host, port)
    entry = "no-federation-service"
    try:
        answer = await http_get(host, port, "/discover")
    except OSError:
        text = f"nothing listens on {where}"
        advice = "start it with `ark-pulse up`, or set ARK_FEDERATION_URL to one that is to be followed"
    else:
        if answer is not None and answer.status == 200 and answer.body.lstrip().startswith(b'{"peers"'):
            return [ok("federation", f"http://{where}/discover answers")]
        if answer is not None and answer.status == 503 and answer.body.lstrip().startswith(b'{"error"'):
            text = f"http://{where}/discover cannot tell who is there"
            return [warning("federation", entry, text, "see whether REDIS_URL answers")]
        text, entry = f"{where} is in use by {await _who(port)}", "a-port-is-taken"
        advice = "set ARK_FEDERATION_URL if it is to be followed, or FEDERATION_PORT to a free port"
    if settings.ark_federation_url is None:
        return [warning("federation", entry, text, advice)]
    return [ok("federation", f"{text}, ARK_FEDERATION_URL is followed")]


async def check_metrics(settings: Settings) -> Sequence[Finding]:
    """Whether another program has one of the ports that the processes of `ark-pulse up` tell their metrics on."""
    if (first := settings.ark_metrics_port) is None:
        return []
    ports = range(first, first + _PROCESSES)
    theirs = [port for port in ports if not await _is_ours(settings.ark_metrics_host, port)]
    if not theirs:
        return [ok("metrics", f"no other program has a port from {ports[0]} to {ports[-1]}")]
    text = f"{address(settings.ark_metrics_host, theirs[0])} is in use by {await _who(theirs[0])}"
    return [trouble("metrics", "a-port-is-taken", text, "end it, or set ARK_METRICS_PORT to another port")]


async def _is_ours(host: str, port: int) -> bool:
    """Whether nobody listens there, or one of our processes."""
    try:
        answer = await http_get(host, port, "/metrics")
    except OSError:
        return True
    return answer is not None and b"ark_pulse_build_info" in answer.body


async def _who(port: int) -> str:
    found = await asyncio.to_thread(listener, port)
    return "another program" if found is None else f"{found[1]} (process {found[0]})"
