import asyncio
from types import SimpleNamespace
from typing import Any, cast

import pytest

from processors.gateway import history
from processors.gateway.backlog import Kept
from processors.gateway.history import History
from processors.gateway.state import State
from processors.runtime.bus import Bus
from schemas.positions import EntryId, Position


class FrozenClient:
    """A bus that takes every question and answers none."""

    async def xrevrange(self, *_: Any, **__: Any) -> None:
        await asyncio.Event().wait()


async def test_a_herd_at_a_frozen_bus_is_not_kept_waiting_one_after_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history, "READY_S", 0.05)
    state = State(1)
    state.syncs.add("e", Kept(EntryId(100, 5), b"{}"))
    past = History(cast("Bus", SimpleNamespace(client=FrozenClient())), state)
    # Each by itself would wait for ever.
    await asyncio.gather(*(past.reach("sync", Position("e", EntryId(1, 1))) for _ in range(50)))
    assert state.syncs.oldest == EntryId(100, 5)
