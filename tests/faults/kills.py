"""Processes that are killed or stopped, and servers that come back without their newest writes or with nothing."""

import random
import signal
import time
from collections.abc import Mapping
from typing import Any, Final

import redis

from tests.faults.report import Run
from tests.faults.strikes import Strike, run_strikes
from tests.faults.system import JOURNALS, RIGHT_S, SERVERS, Kind, System, own_bus
from tests.faults.victims import TOPOLOGIES
from tests.stack import wait_for

__all__ = [
    "BUS",
    "GATEWAY",
    "TAIL",
    "WORKERS",
    "forgetful",
    "kill_bus",
    "kill_workers",
    "lose_tail",
    "pause_owner",
    "restart_gateway",
    "wipe",
]


def _kill(stage: str, number: signal.Signals = signal.SIGKILL) -> Strike:
    return lambda system, _chance: system.kill(stage, number)


def _kill_second(system: System, _chance: random.Random) -> None:
    system.second.kill()
    system.second.start()


def _kill_bus(system: System, chance: random.Random) -> None:
    if system.own_bus is None:
        system.kill("bus")
    else:
        system.own_bus.kill(chance)


def _cut_tail(system: System, chance: random.Random) -> None:
    assert system.own_bus is not None
    system.own_bus.cut(chance)


def _flush(system: System, _chance: random.Random) -> None:
    with system.stack.bus() as bus:
        bus.flushall()


_CLIENTS: Final = 60
# Most of those that lost their gateway are back by then.
_BACK_S: Final = 3

WORKERS: Final[Mapping[str, Strike]] = {
    **{stage: _kill(stage) for stage in ("collectors", "federation", "aggregators", "gateway")},
    "second aggregators": _kill_second,
}
"""What each worker's end is brought about by: the second aggregators are beside the stack's."""

BUS: Final[Mapping[str, Strike]] = {"bus": _kill_bus}
"""The bus, or one node of it, is killed, and comes back on its append-only file."""

GATEWAY: Final[Mapping[str, Strike]] = {"gateway, in order": _kill("gateway", signal.SIGTERM)}
"""The gateway is told to end, and started again by its supervisor."""

TAIL: Final[Mapping[str, Strike]] = {"tail": _cut_tail}
"""The bus is killed, and comes back without its newest writes."""


def _kind_of(seed: int) -> tuple[Kind, str]:
    """Server, journal and topology take turns with the seed."""
    server, topology = SERVERS[seed % 2], TOPOLOGIES[seed // 2 % 2]
    bus = None if (server, topology) == ("valkey", "single") else own_bus(server, topology)
    return Kind(server, JOURNALS[seed // 4 % 2], bus), topology


def _run(run: Run, seconds: float, strikes: Mapping[str, Strike]) -> None:
    kind, topology = _kind_of(run.seed)
    run_strikes(run, seconds, strikes, kind)
    run.kind += f", bus: {topology}"


def kill_workers(run: Run, seconds: float) -> None:
    """Any process but the bus is killed."""
    _run(run, seconds, WORKERS)


def pause_owner(run: Run, seconds: float) -> None:
    """One of two aggregators' processes is stopped past its leases, and comes back."""
    _run(run, seconds, {"stopped for 1.5 s": lambda system, chance: system.pause(chance)})


def kill_bus(run: Run, seconds: float) -> None:
    """The bus, or one node of a cluster, is killed."""
    _run(run, seconds, BUS)


def forgetful(seed: int) -> Kind:
    """What keeps in its sources what a bus may forget."""
    server = SERVERS[seed % 2]
    return Kind(server, JOURNALS[seed // 2 % 2], own_bus(server), keeps=True)


def lose_tail(run: Run, seconds: float) -> None:
    """The bus is killed, and comes back without its newest writes."""
    run_strikes(run, seconds, TAIL, forgetful(run.seed))


def wipe(run: Run, seconds: float) -> None:
    """FLUSHALL."""
    run_strikes(run, seconds, {"wiped": _flush}, forgetful(run.seed))


def _reads(bus: "redis.Redis") -> int:
    """How often entries were read back from streams: for who comes back with a position, too."""
    stats: Any = bus.info("commandstats")
    return sum(int(stats.get(f"cmdstat_{name}", {}).get("calls", 0)) for name in ("xrange", "xrevrange"))


def restart_gateway(run: Run, seconds: float) -> None:
    """The gateway is ended under load, in order or as by a crash, while sixty clients follow four channels each."""

    def end(number: signal.Signals) -> Strike:
        def strike(system: System, _chance: random.Random) -> None:
            with system.stack.bus() as bus:
                before = _reads(bus)
                system.kill("gateway", number)
                wait_for("the gateway is back", lambda: system.stack.status("/readyz") == 200, RIGHT_S)
                time.sleep(_BACK_S)
                reads = _reads(bus) - before
            run.figures["restarts"] += 1
            run.figures["reads of the bus's history in all restarts"] += reads

        return strike

    strikes = {number.name: end(number) for number in (signal.SIGTERM, signal.SIGKILL)}
    run_strikes(run, seconds, strikes, Kind(clients=_CLIENTS))
