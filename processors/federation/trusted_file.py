"""The file of trusted keys on disk: read at the start, and again when it has changed."""

import asyncio
from pathlib import Path
from typing import Final

from processors.federation.trust import TrustedKeys, parse_trusted_keys
from processors.runtime.errors import SettingsError
from processors.runtime.logging import get_logger

__all__ = ["LOOK_S", "MAX_BYTES", "TrustedFile"]

LOOK_S: Final = 1.0
"""How often the file is looked at while manifests come, seconds."""

MAX_BYTES: Final = 4 << 20
"""Largest file, in bytes."""

_logger = get_logger("federation")


class TrustedFile:
    """The file named by ARK_TRUSTED_KEYS_FILE; without one (None) no key is trusted."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        # The content that holds.
        self._keys = TrustedKeys({})
        # What changes when the file does, as it was when it was last looked at; None if it could not be.
        self._stamp: tuple[int, ...] | None = None
        # Loop time at which to look again, seconds.
        self._look_at = 0.0

    async def open(self) -> None:
        """Read it for the first time. Raises SettingsError: if it cannot be used. Cancellation: safe."""
        if self._path is not None:
            try:
                await self._read(self._path)
            except (OSError, ValueError) as error:
                raise SettingsError("ARK_TRUSTED_KEYS_FILE", _clause(error)) from error

    async def keys(self) -> TrustedKeys:
        """What the file says; after a bad change, what it said before, with one line in the log. Cancellation: safe.

        It is looked at when somebody asks, and not on its own account: a service that nobody uses costs nothing.
        """
        now = asyncio.get_running_loop().time()
        if self._path is not None and now >= self._look_at:
            self._look_at = now + LOOK_S
            await self._look(self._path)
        return self._keys

    async def _look(self, path: Path) -> None:
        before = self._stamp
        try:
            if await self._read(path):
                _logger.info("ARK_TRUSTED_KEYS_FILE was read again")
        except (OSError, ValueError) as error:
            if isinstance(error, OSError):
                self._stamp = None
            if self._stamp != before:
                _logger.warning("ARK_TRUSTED_KEYS_FILE %s; what it said before still holds", _clause(error))

    async def _read(self, path: Path) -> bool:
        """Read the file unless it is as it was. Returns whether it was read."""
        before, found = self._stamp, await asyncio.to_thread(path.stat)
        self._stamp = (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns)
        if self._stamp == before:
            return False
        self._keys = await asyncio.to_thread(_content, path)
        return True


def _content(path: Path) -> TrustedKeys:
    with path.open("rb") as file:
        content = file.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise ValueError(f"must have at most {MAX_BYTES} bytes")
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError("must be UTF-8") from error
    return parse_trusted_keys(text)


def _clause(error: OSError | ValueError) -> str:
    if isinstance(error, OSError):
        return f"cannot be read: {(error.strerror or str(error)).lower()}"
    return str(error)
