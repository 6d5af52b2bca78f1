"""The file of trusted keys on disk, looked at again while manifests come."""

import asyncio
from pathlib import Path
from typing import Final

from processors.federation.trust import TrustedKeys, parse_trusted_keys
from processors.runtime.logging import get_logger
from processors.runtime.watched_file import WatchedFile

__all__ = ["LOOK_S", "TrustedFile"]

LOOK_S: Final = 1.0
"""How often the file is looked at while manifests come, seconds."""


class TrustedFile:
    """The file named by ARK_TRUSTED_KEYS_FILE; without one (None) no key is trusted."""

    def __init__(self, path: Path | None) -> None:
        self._file = WatchedFile("ARK_TRUSTED_KEYS_FILE", path, parse_trusted_keys, get_logger("federation"))
        # Loop time at which to look again, seconds.
        self._look_at = 0.0

    async def open(self) -> None:
        """Read it for the first time. Raises SettingsError: if it cannot be used. Cancellation: safe."""
        await self._file.open()

    async def keys(self) -> TrustedKeys:
        """What the file says; after a bad change, what it said before, with one line in the log. Cancellation: safe.

        It is looked at when somebody asks, and not on its own account: a service that nobody uses costs nothing.
        """
        now = asyncio.get_running_loop().time()
        if now >= self._look_at:
            self._look_at = now + LOOK_S
            await self._file.look()
        return self._file.content
