"""Locks between processes: files under flock, which the kernel lets go of when the last holder ends."""

import fcntl
import os
import time
from pathlib import Path
from typing import Final

__all__ = ["FileLock", "LockTaken", "holder"]

_POLL_S: Final = 0.05


class LockTaken(Exception):
    """Another process holds the lock. `pid` is what it wrote into the file, None if there is nothing readable."""

    def __init__(self, path: Path, pid: int | None) -> None:
        super().__init__(f"{path} is locked")
        self.pid = pid


def holder(path: Path) -> str:
    """Which process holds the lock at `path`, in words; empty if none does. Raises OSError: if it cannot be read."""
    if not path.is_file():
        return ""
    with path.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)  # let go of at once
        except BlockingIOError:
            return f"process {file.read(32).decode(errors='replace') or '?'}"
    return ""


class FileLock:
    """A lock that is held by this process, and by each child that shares `fd`, until the last of them has ended.

    The file holds the process id of its holder, and is emptied when the lock is let go: text in a file that nobody
    locks tells that the last holder had no orderly end.
    """

    def __init__(self, path: Path, *, wait_s: float = 0) -> None:
        """Take the lock at `path`, waiting up to `wait_s` seconds; blocks.

        Raises LockTaken: if another process holds it. Raises OSError: if the file cannot be written.
        """
        # The open file that carries the lock.
        self.fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            self._take(path, time.monotonic() + wait_s)
            # Whether the last holder had no orderly end.
            self.was_left = bool(self._pid())
            self._write(str(os.getpid()))
        except BaseException:
            os.close(self.fd)
            raise

    def _take(self, path: Path, deadline: float) -> None:
        while True:
            try:
                fcntl.flock(self.fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    raise LockTaken(path, self._pid()) from None
                time.sleep(_POLL_S)  # flock knows no timeout
            else:
                return

    def _pid(self) -> int | None:
        text = os.pread(self.fd, 32, 0)
        return int(text) if text.isdigit() else None

    def _write(self, text: str) -> None:
        os.ftruncate(self.fd, 0)
        os.pwrite(self.fd, text.encode(), 0)

    def release(self) -> None:
        """Let go of it, in order."""
        self._write("")
        os.close(self.fd)
