import asyncio
import contextlib
from collections.abc import Mapping

from processors.federation.discovery import Discovery
from processors.federation.pins import Pins
from processors.federation.registrar import Registrar
from processors.federation.trusted_file import TrustedFile
from processors.runtime.bus import Bus
from tests.federation.support import Node


class SlowRegistry:
    """Its first writing takes until another one was done, or long enough for one that does not wait."""

    def __init__(self) -> None:
        self.written: list[str] = []
        self.begun = asyncio.Event()
        self._overtaken = asyncio.Event()

    async def put(self, _node_id: str, fields: Mapping[str, str], _life_ms: int) -> None:
        if not self.begun.is_set():
            self.begun.set()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._overtaken.wait(), 0.3)
        self.written.append(fields["seq"])
        self._overtaken.set()


async def test_two_manifests_of_a_node_are_written_in_the_order_in_which_they_were_taken(bus: Bus) -> None:
    registry, node = SlowRegistry(), Node()
    discovery = Discovery(registry)  # type: ignore[arg-type]  # has what is used of it
    registrar = Registrar(Pins(bus), registry, discovery, TrustedFile(None), bus.clock)  # type: ignore[arg-type]  # same
    first = asyncio.create_task(registrar.register(node.body(seq=1)))
    await registry.begun.wait()
    await registrar.register(node.body(seq=2))
    await first
    assert registry.written == ["1", "2"]


async def test_manifests_of_other_nodes_do_not_wait_for_it(bus: Bus) -> None:
    registry = SlowRegistry()
    discovery = Discovery(registry)  # type: ignore[arg-type]  # has what is used of it
    registrar = Registrar(Pins(bus), registry, discovery, TrustedFile(None), bus.clock)  # type: ignore[arg-type]  # same
    first = asyncio.create_task(registrar.register(Node("one").body(seq=1)))
    await registry.begun.wait()
    await registrar.register(Node("other").body(seq=2))
    await first
    assert registry.written == ["2", "1"]
