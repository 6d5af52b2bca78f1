"""Everything that the gateway knows: both halves, and who was heard of."""

from typing import Any

from processors.gateway.backlog import Backlog
from processors.gateway.half import Half
from processors.gateway.memory import Memory
from processors.gateway.mesh import Mesh
from processors.gateway.sources import Sources

__all__ = ["State"]


class State:
    """Everything that is known. The halves know nothing of each other."""

    def __init__(self, partitions: int) -> None:
        # How many live ones there are.
        self.partitions = partitions
        self.sources = Sources()
        self.mesh = Mesh(partitions, self.sources)
        self.memory = Memory(self.sources)
        # The newest of the feeds.
        self.syncs = Backlog()
        self.logs = Backlog()
        # Both, in the order in which they are shown.
        self.halves: tuple[Half[Any], ...] = (self.mesh, self.memory)
        # What is kept of each channel that can be gone on with.
        self.backlogs = {half.name: half.backlog for half in self.halves} | {"sync": self.syncs, "logs": self.logs}
        # Whether the bus answered the last time it was asked.
        self.bus_answers = False

    def doubt(self) -> None:
        """The bus was lost or wiped: what was live is stale, and the collectors have to be heard again."""
        for half in self.halves:
            half.doubt()
        self.sources.forget()
