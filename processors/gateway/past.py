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

__all__ = ["MAX_PLAYERS", "MAX_SHOWN_S", "Past", "Players"]

MAX_PLAYERS: Final = 8
"""Most clients of a process that are shown the past at once: each holds a state of its own."""


MAX_SHOWN_S: Final = 3_600.0
"""How long a client is shown the past before it goes on live: others want a place, too."""


_SLACK_MS: Final = 1_000
"""Another gateway's clock, of which a client has its moment, may be a little ahead of ours."""


class Players:
    """What the players of all clients have in common."""

    def __init__(self, bus: Bus, present: State) -> None:
        self.bus = bus
        self.present = present
        # How many there are.
        self.count = 0


class Past:
    """What of the past one client is shown, one stretch at a time.

    Its calls must not overlap, but for `close`; nor with `go_live`, which it calls when the present is reached, and
    which is to call `end`.
    """

    def __init__(
        self, players: Players, client: Client, encoding: Encoding, go_live: Callable[[], Awaitable[None]]
    ) -> None:
        self._players = players
        self._connection = client
        self._encoding = encoding
        self._go_live = go_live
        # What plays; None while nothing is shown.
        self._player: Player | None = None
        # The same connection, with a standing of its own in that past.
        self._client = client
        # What is shown, by channel.
        self.wants: dict[str, Want] = {}
        # Has it play, and go on live then; None while nothing is shown.
        self._task: asyncio.Task[None] | None = None

    async def load(self, message: Subscribe, wants: Mapping[str, Want]) -> list[Refused]:
        """Load what a subscription asks for, in the place of what was shown; which channels cannot be.

        Raises Refused: if nothing can. Cancellation: safe; it is for `close` to give the place up.
        """
        players, at = self._players, message.at
        assert at is not None, "it asks for the past"
        if not 0 <= at <= players.bus.clock.now_ms() + _SLACK_MS:
            raise Refused("out_of_reach", "at must not be in the future")
        await self.drop(self.wants)
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
        self.wants = {name: want for name, want in wants.items() if name not in unreached}
        if not self.wants:
            self.close()
        return refused

    async def begin(self) -> None:
        """Show what was loaded, and let it play. Cancellation: safe."""
        if self._player is not None:
            await self._player.hub.follow(self._client, self.wants.values(), self._encoding, {})
            self._task = asyncio.create_task(self._play(self._player))
            self._players.bus.guard(self._task)

    async def drop(self, names: Collection[str]) -> None:
        """Show channels no more. Cancellation: safe."""
        if self._player is None or self.wants.keys().isdisjoint(names):
            return
        # A snapshot that was begun is ended first: the pieces of the next would be put to it.
        await self._client.settled()
        self.wants = {name: want for name, want in self.wants.items() if name not in names}
        if self.wants:
            await self._player.hub.follow(self._client, self.wants.values(), self._encoding, {})
        else:
            self.close()

    def refresh(self, names: Collection[str]) -> None:
        """Send the whole of channels that are shown."""
        if self._player is not None and (shown := self.wants.keys() & set(names)):
            self._player.hub.refresh(self._client, shown)

    async def end(self) -> tuple[dict[str, Want], dict[str, str]]:
        """Show nothing any more. Returns what was shown, and the positions up to which it was. Cancellation: safe."""
        await self._client.settled()
        wants = self.wants
        positions = {} if self._player is None else self._player.hub.positions(self._client)
        self._leave()
        return wants, positions

    def close(self) -> None:
        """Show nothing any more, at once. Harmless if nothing is shown."""
        if self._task is not None:
            self._task.cancel()
            self._task = None
        self._leave()

    def _leave(self) -> None:
        self.wants = {}
        if self._player is not None:
            self._player.hub.leave(self._client)
            self._player = None
            self._players.count -= 1

    async def _play(self, player: Player) -> None:
        # The present says itself that it is stale.
        with contextlib.suppress(TimeoutError, *BUS_FAILURES):
            async with asyncio.timeout(MAX_SHOWN_S):
                await player.play()
        await self._go_live()
        self._task = None
