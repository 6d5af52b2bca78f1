"""What went to the clients of a gateway since its start, counted."""

from collections import Counter

from processors.runtime.metrics import Histogram
from schemas.frames import CLOSE_CODES

__all__ = ["Traffic"]


class Traffic:
    """Plain numbers, that whoever sends adds to."""

    def __init__(self) -> None:
        # Connections that stay, by path, those that have ended too.
        self.connections: Counter[str] = Counter()
        # Writes to clients, each of one frame or of several that go together; and their bytes.
        self.frames = 0
        self.sent_bytes = 0
        # Frames that slow clients did not get because a newer one stands for them.
        self.skipped = 0
        # Clients that came back to a channel and had to begin anew.
        self.resets = 0
        # Connections that we closed, by code.
        self.closes = {str(code.code): 0 for code in CLOSE_CODES.values()}
        # Answers, by the class of their status, such as "2xx".
        self.requests = {f"{digit}xx": 0 for digit in range(1, 6)}
        # From a commit on the bus to the frame that tells of it, of all clients that want the same at once; of what is
        # told as soon as it may be, to clients that ask for ten frames a second or more.
        self.frame_delay = Histogram()

    def count(self, clients: int, frames: bytes) -> None:
        """The same `frames` were written to so many clients."""
        self.frames += clients
        self.sent_bytes += clients * len(frames)

    def note_closed(self, code: int) -> None:
        """A connection was closed by us; a code that is none of ours is left out."""
        if str(code) in self.closes:
            self.closes[str(code)] += 1

    @property
    def closed_slow(self) -> int:
        """Connections that were closed because their clients did not read."""
        return self.closes[str(CLOSE_CODES["too_slow"].code)]
