"""Owners that come, go and repeat themselves, against a model: who commits, and how the commits are counted."""

from random import Random

import pytest

from processors.aggregators.checkpoint import commit
from processors.aggregators.ownership import Fenced, Grant, acquire
from processors.aggregators.partition import Commit
from processors.runtime.bus import Bus
from schemas import streams
from tests.reading import entries_of

KEY = streams.meta_key("0")
HOUR = 3_600_000
OWNERS = ("one", "two", "three")


class Story:
    """One partition, what its owners hold, and what the newest of them is to hold."""

    def __init__(self, bus: Bus) -> None:
        self.bus = bus
        self.grants: dict[str, Grant] = {}
        # Who may commit, None after a wipe; the newest commit of this epoch; whether the next epoch is new.
        self.owner: str | None = None
        self.newest: tuple[str, int] = ("", 0)
        self.anew = True

    async def take(self, owner: str) -> None:
        if self.owner is not None:
            await self.bus.client.hset(KEY, "lease_until", 1)
        [grant] = await acquire(self.bus, [KEY], owner)
        assert grant is not None
        assert (grant.epoch != self.newest[0]) == self.anew
        assert grant.n == self.newest[1]
        self.grants[owner], self.owner, self.newest, self.anew = grant, owner, (grant.epoch, grant.n), False

    async def commit(self, owner: str) -> None:
        grant = self.grants.get(owner)
        if grant is None:
            return
        if owner != self.owner:
            with pytest.raises(Fenced):
                await self.write(grant)
            return
        self.grants[owner] = after = await self.write(grant)
        assert (after.epoch, after.n) == (self.newest[0], self.newest[1] + 1)
        self.newest = after.epoch, after.n
        # Its answer was lost on the way, and it is sent again.
        with pytest.raises(Fenced):
            await self.write(grant)

    async def write(self, grant: Grant) -> Grant:
        await self.bus.client.xadd(streams.events_key("0"), {"d": "x"})
        newest = await self.bus.newest(streams.events_key("0"))
        assert newest is not None
        work = Commit(newest[0].decode(), {"totals": str(grant.n + 1).encode()}, partial=b"{}")
        return await commit(self.bus, "0", grant, work, HOUR)

    async def wipe(self) -> None:
        await self.bus.client.flushall()
        self.owner, self.newest, self.anew = None, ("", 0), True

    async def restart(self) -> None:
        if self.owner:
            await self.bus.client.hset(KEY, "run_id", "of the server before")
            self.anew = True

    async def check(self) -> None:
        """What is there is what the newest commit wrote, and its entries count on by one."""
        if self.owner and self.newest[1]:
            assert await self.bus.client.hget(streams.state_key("0"), "totals") == str(self.newest[1]).encode()
            numbers = [int(text.split(b"-")[1]) for text, _ in await entries_of(self.bus, streams.partials_key("0"))]
            assert numbers == list(range(numbers[0], self.newest[1] + 1))


@pytest.mark.parametrize("seed", range(2))
async def test_only_the_newest_owner_commits_and_commits_count_on_by_one_within_an_epoch(bus: Bus, seed: int) -> None:
    chance, story = Random(seed), Story(bus)
    for _ in range(60):
        match chance.choices(["take", "commit", "wipe", "restart"], [3, 10, 0.3, 0.6]):
            case ["take"]:
                await story.take(chance.choice(OWNERS))
            case ["commit"]:
                await story.commit(chance.choice(OWNERS))
            case ["wipe"]:
                await story.wipe()
            case ["restart"]:
                await story.restart()
        await story.check()
