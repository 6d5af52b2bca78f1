"""The past that one client is shown beside the present, and its way back."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import Final

from processors.gateway.channel import Want
from processors.gateway.encodings import Encoding
from processors.gateway.fanout import Client
from processors.gateway.player import Player
from processors.gateway.state import State
from processors.gateway.subscriptions import Refused
from processors.runtime.bus import Bus
from processors.runtime.connection import BUS_FAILURES
from schemas.frames import Subscribe

__all__ = ["MAX_PLAYERS", "Past", "Players"]

MAX_PLAYERS: Final = 16
"""Most clients of a process that are shown the past at once: each holds a state of its own."""


class Players:
    """What the players of all clients have in common."""

    def __init__(self, bus: Bus, present: State) -> None:
        self.bus = bus
        self.present = present
        # How many there are.
        self.count = 0


class Past:
    """What of the past one client is shown. One stretch at a time: another one ends it."""

    def __init__(
        self,
        players: Players,
        client: Client,
        encoding: Encoding,
        go_live: Callable[[Mapping[str, Want], Mapping[str, str]], Awaitable[None]],
    ) -> None:
        self._players = players
        self._connection = client
        self._encoding = encoding
        # Called with what was wanted, and the positions up to which it was shown, when the present is reached.
        self._go_live = go_live
        self._player: Player | None = None
        # The same connection, with a standing of its own in that past.
        self._client = client
        self._task: asyncio.Task[None] | None = None

    @property
    def wants(self) -> dict[str, Want]:
        """What is shown, by channel."""
        return {} if self._player is None else dict(self._player.hub.wants(self._client))

    async def show(self, message: Subscribe, wants: Mapping[str, Want]) -> list[Refused]:
        """Show what a subscription asks for; which channels cannot be shown.

        Raises Refused: if none can. Cancellation: safe.
        """
        players, at = self._players, message.at
        assert at is not None, "it asks for the past"
        if not 0 <= at <= players.bus.clock.now_ms():
            raise Refused("out_of_reach", "at must not be in the future")
        self.close()
        if players.count >= MAX_PLAYERS:
            raise Refused("busy", f"at most {MAX_PLAYERS} clients are shown the past at once")
        players.count += 1
        self._player = Player(players.bus, players.present, at, message.speed)
        self._client = Client(self._connection.transport, self._connection.drain, self._connection.end)
        try:
            refused = await self._player.load(wants)
        except BUS_FAILURES as error:
            self.close()
            raise Refused("busy", "the bus does not answer") from error
        unreached = {each.channel for each in refused}
        shown = [want for name, want in wants.items() if name not in unreached]
        if not shown:
            self.close()
            return refused
        await self._player.hub.follow(self._client, shown, self._encoding, {})
        if message.speed:
            self._task = asyncio.create_task(self._play(self._player))
            players.bus.guard(self._task)
        return refused

    async def drop(self, names: Collection[str]) -> None:
        """Show channels no more. Cancellation: safe."""
        if self._player is not None and (dropped := self.wants.keys() & set(names)):
            left = [want for name, want in self.wants.items() if name not in dropped]
            if left:
                await self._player.hub.follow(self._client, left, self._encoding, {})
            else:
                self.close()

    def refresh(self, names: Collection[str]) -> None:
        """Send the whole of channels that are shown."""
        if self._player is not None and (shown := self.wants.keys() & set(names)):
            self._player.hub.refresh(self._client, shown)

    def close(self) -> None:
        """Show nothing any more."""
        if self._task is not None and self._task is not asyncio.current_task():
            self._task.cancel()
        self._task = None
        if self._player is not None:
            self._player.hub.leave(self._client)
            self._player = None
            self._players.count -= 1

    async def _play(self, player: Player) -> None:
        with contextlib.suppress(*BUS_FAILURES):  # the present says itself that it is stale
            await player.play()
        await self._client.settled()
        wants, positions = self.wants, player.hub.positions(self._client)
        self.close()
        await self._go_live(wants, positions)
