"""Wakes up when files of one folder change, where the platform can tell; otherwise at the caller's own pace.

Delivery: at least one wake-up after the last change of a stretch; a file system that does not tell (a network share,
say) gives none, so callers look by themselves now and then. Changes close to each other are one wake-up.
"""

import asyncio
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from processors.runtime.logging import get_logger
from processors.runtime.tasks import end_tasks, is_set_within

if sys.platform == "linux":
    from asyncinotify import Event, Inotify, Mask

    _CHANGES: Final = Mask.MODIFY | Mask.CREATE | Mask.DELETE | Mask.MOVE
    _FOLDER_GONE: Final = Mask.DELETE_SELF | Mask.MOVE_SELF | Mask.UNMOUNT | Mask.IGNORED

__all__ = ["FolderWatch"]

# One commit is some ten events, of which the first wakes up: the others are then read together, and most are merged by
# the kernel. Reading each as it comes would cost several times the CPU.
_GATHER_S: Final = 0.002

_logger = get_logger("collectors")


class FolderWatch:
    """Watches the files `names` in `folder`, which need not exist yet. Closed by `close`."""

    def __init__(self, folder: Path, names: Iterable[str]) -> None:
        self._folder = folder
        self._names = frozenset(names)
        # Set when one of the files may have changed.
        self._wake = asyncio.Event()
        # Reads the platform's events; None while the folder is not watched.
        self._listener: asyncio.Task[None] | None = None
        # Whether it was logged that the platform refuses.
        self._refused = False

    @property
    def told(self) -> bool:
        """Whether changes are told of: if not, the caller must look often."""
        return self._listener is not None and not self._listener.done()

    def start(self) -> None:
        """Begin to watch, if the folder is there and the platform can. Harmless while it watches."""
        if sys.platform != "linux" or self.told:
            return
        inotify: Inotify | None = None
        try:
            inotify = Inotify(cache_size=64)
            inotify.add_watch(self._folder, _CHANGES | _FOLDER_GONE & ~Mask.IGNORED | Mask.ONLYDIR)
        except OSError as error:
            if inotify is not None:
                inotify.close()
            if not isinstance(error, FileNotFoundError | NotADirectoryError) and not self._refused:
                self._refused = True
                _logger.warning("no notifications of changes in %s, looking instead: %s", self._folder, error)
            return
        self._listener = asyncio.create_task(self._listen(inotify))

    async def wait(self, seconds: float) -> bool:
        """Return when one of the files may have changed, or after `seconds`. Returns which. Cancellation: safe."""
        told = await is_set_within(self._wake, seconds)
        self._wake.clear()
        return told

    async def close(self) -> None:
        """Watch no more."""
        if self._listener is not None:
            await end_tasks([self._listener])

    if sys.platform == "linux":

        async def _listen(self, inotify: "Inotify") -> None:
            with inotify:
                async for event in inotify:
                    if event.mask & _FOLDER_GONE:
                        break
                    if self._concerns(event) and not self._wake.is_set():
                        self._wake.set()
                        await asyncio.sleep(_GATHER_S)
            self._wake.set()

        def _concerns(self, event: "Event") -> bool:
            # An event without a name says that events were lost.
            return event.name is None or event.name.name in self._names
