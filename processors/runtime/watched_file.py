"""A file of the operator's that a setting names: read at the start, and again when it has changed."""

import asyncio
from collections.abc import Callable
from logging import Logger
from pathlib import Path
from typing import Final, Generic, TypeVar

from processors.runtime.errors import SettingsError

__all__ = ["MAX_BYTES", "WatchedFile"]

MAX_BYTES: Final = 4 << 20
"""Largest file, in bytes."""

Content = TypeVar("Content")


class WatchedFile(Generic[Content]):
    """The file at `path` (None: none, as if it were empty), which `setting` names in errors and in the log.

    `parse` makes the content of its text, or raises ValueError with a clause. It looks by itself at no time.
    """

    def __init__(self, setting: str, path: Path | None, parse: Callable[[str], Content], logger: Logger) -> None:
        self._setting = setting
        self._path = path
        self._parse = parse
        self._logger = logger
        # What the file says; after a bad change, what it said before.
        self.content = parse("")
        # What changes when the file does, as it was when it was last looked at; None if it could not be.
        self._stamp: tuple[int, ...] | None = None

    async def open(self) -> None:
        """Read it for the first time. Raises SettingsError: if it cannot be used. Cancellation: safe."""
        if self._path is not None:
            try:
                await self._read(self._path)
            except (OSError, ValueError) as error:
                raise SettingsError(self._setting, _clause(error)) from error

    async def look(self) -> None:
        """Read it again if it has changed; a line in the log tells that it was, or could not be. Cancellation: safe."""
        if self._path is None:
            return
        before = self._stamp
        try:
            if await self._read(self._path):
                self._logger.info("%s was read again", self._setting)
        except (OSError, ValueError) as error:
            if isinstance(error, OSError):
                self._stamp = None
            if self._stamp != before:
                self._logger.warning("%s %s; what it said before still holds", self._setting, _clause(error))

    async def _read(self, path: Path) -> bool:
        """Read the file unless it is as it was. Returns whether it was read."""
        before, found = self._stamp, await asyncio.to_thread(path.stat)
        self._stamp = (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns)
        if self._stamp == before:
            return False
        # A long file takes longer to parse than the loop may be kept from others.
        self.content = await asyncio.to_thread(lambda: self._parse(_text(path)))
        return True


def _text(path: Path) -> str:
    with path.open("rb") as file:
        content = file.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise ValueError(f"must have at most {MAX_BYTES} bytes")
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError("must be UTF-8") from error


def _clause(error: OSError | ValueError) -> str:
    if isinstance(error, OSError):
        return f"cannot be read: {(error.strerror or str(error)).lower()}"
    return str(error)
