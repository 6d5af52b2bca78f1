"""A naive client of protocol v1: it does what docs/protocol.md tells a client to do, and nothing else."""

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from schemas import codec
from schemas.frames import Frame

__all__ = ["Held", "NaiveClient", "apply_patch"]


def apply_patch(target: Any, patch: Any) -> Any:
    """RFC 7396, as it is written there."""
    if not isinstance(patch, dict):
        return patch
    result = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        else:
            result[name] = apply_patch(result.get(name), value)
    return result


class Held:
    """What a client holds of one channel."""

    def __init__(self) -> None:
        # A state, or a list of records since the last snapshot, with a number where so many were left out.
        self.data: Any = None
        self.pos: str | None = None
        self.source: Any = None
        self.as_of: Any = None
        self.resets: list[str] = []
        self.skipped = 0
        # How many frames with data came.
        self.frames = 0
        self._is_whole = True

    def take(self, frame: Mapping[str, Any]) -> None:
        """Do what a frame says."""
        kind = frame["type"]
        if kind == "reset":
            self.resets.append(frame["reason"])
            self.data = self.pos = None
        elif kind == "skipped":
            self.skipped += frame["count"]
            if isinstance(self.data, list):
                self.data = [*self.data, frame["count"]]
        else:
            self.frames += 1
            self._take_data(kind, frame["data"], is_last="more" not in frame)
            self.pos = frame.get("pos", self.pos)
            self.source, self.as_of = frame.get("source"), frame.get("as_of")

    def _take_data(self, kind: str, data: Any, *, is_last: bool) -> None:
        if kind == "snapshot":
            self.data = data if self._is_whole else self.data | data
            self._is_whole = is_last
        elif kind == "delta":
            self.data = apply_patch(self.data, data)
        else:
            assert kind == "event", kind
            self.data = [*(self.data or ()), *data]


class NaiveClient:
    """Holds what it is told, by channel."""

    def __init__(self) -> None:
        self.channels: dict[str, Held] = {}

    def __getitem__(self, channel: str) -> Held:
        return self.channels.setdefault(channel, Held())

    def take(self, frame: Mapping[str, Any]) -> None:
        """Do what a frame says; frames of no channel are passed over."""
        if "channel" in frame and frame["type"] != "error":
            self[frame["channel"]].take(frame)

    def take_all(self, frames: Iterable[Frame | bytes]) -> None:
        """Take frames as they would travel."""
        for frame in frames:
            self.take(msgspec.json.decode(frame if isinstance(frame, bytes) else codec.encode(frame)))
