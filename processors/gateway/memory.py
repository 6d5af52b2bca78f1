"""The memory half as the gateway follows it. Its summary holds all there is to show, node by node."""

from collections.abc import Iterable, Iterator

import msgspec

from processors.gateway.half import Half, Part, aged
from processors.gateway.sources import NodeGroup, Sources
from schemas.metrics import MemorySummary

__all__ = ["Memory"]


class Memory(Half[MemorySummary]):
    """The memory engines of all nodes; the groups of each node follow that node's own sources."""

    def __init__(self, sources: Sources) -> None:
        super().__init__("memory", MemorySummary, ("reasoning", "code"), sources)

    def _parts(self, summary: MemorySummary) -> Iterator[tuple[str | None, Part]]:
        yield None, summary
        yield from summary.nodes.items()

    def _shown(self, summary: MemorySummary, doubts: Iterable[NodeGroup]) -> MemorySummary:
        nodes = {
            name: aged(node, [group for doubted, group in doubts if doubted == name])
            for name, node in summary.nodes.items()
        }
        # The sum is as good as the worst of its nodes.
        whole = aged(summary, {group for _, group in doubts})
        return msgspec.structs.replace(whole, nodes=nodes)
