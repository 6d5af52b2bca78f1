"""The file of a backup: a header and pieces, each behind its length (four bytes), all of it compressed by gzip.

A file is there whole or not at all; one that was cut off later is noticed when it is read to its end.
"""

import contextlib
import gzip
import os
import tempfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import msgspec

from processors.runtime.errors import PulseError
from schemas.snapshots import FORMAT, Header, Piece, decode_header, decode_piece, encode

__all__ = ["check_archive", "read_archive", "writing"]

_PREFIX: Final = 4
_MAX_HEADER: Final = 65_536


@contextlib.contextmanager
def writing(path: Path) -> Iterator[Callable[[Header | Piece], None]]:
    """Write the file `path`, readable by its user only; what is given takes one record after the other. Blocks.

    It takes the place of an older one when the block ends well. Raises PulseError: if it cannot be written, or is a
    device, a pipe or a link: that would be lost.
    """
    try:
        if path.is_symlink() or (path.exists() and not path.is_file()):
            raise PulseError(f"{path} cannot be written: it is no ordinary file")
        handle, name = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
        try:
            with os.fdopen(handle, "wb") as file:
                with gzip.GzipFile("", "wb", fileobj=file) as packed:
                    yield lambda record: _write(packed, encode(record))
                file.flush()
                os.fsync(handle)
            Path(name).replace(path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise PulseError(f"{path} cannot be written: {error.strerror or error}") from error


def _write(packed: gzip.GzipFile, body: bytes) -> None:
    packed.write(len(body).to_bytes(_PREFIX, "big"))
    packed.write(body)


def check_archive(path: Path) -> Header:
    """Read all of the file `path`; returns its header. Blocks.

    Raises PulseError: if it cannot be read, is none of ours, of a newer release, or damaged.
    """
    header, pieces = read_archive(path)
    for _ in pieces:
        pass
    return header


def read_archive(path: Path) -> tuple[Header, Iterator[Piece]]:
    """The header of the file `path`, and its pieces, which are read as they are asked for. Blocks.

    Raises PulseError, as `check_archive` does: of what comes after the header when it is met.
    """
    with _readable(path, "is no backup of a bus"):
        file = gzip.open(path)  # noqa: SIM115  - the pieces are read from it
        body = _record(file, _MAX_HEADER)
        if body is None:
            raise EOFError
        header = decode_header(body)
    if header.format > FORMAT:
        raise PulseError(f"{path} is of format {header.format}, this release reads {FORMAT}: upgrade first")
    return header, _pieces(path, file)


def _pieces(path: Path, file: gzip.GzipFile) -> Iterator[Piece]:
    with _readable(path, "is cut off, or damaged"), file:
        while (body := _record(file)) is not None:
            yield decode_piece(body)


def _record(file: Any, most: int = 2**32) -> bytes | None:
    """The next record; None at the end. Raises EOFError: if it is not whole, or longer than `most` bytes."""
    prefix = file.read(_PREFIX)
    size = int.from_bytes(prefix, "big")
    body: bytes = file.read(size) if size <= most else b""
    if len(prefix) not in {0, _PREFIX} or len(body) < size:
        raise EOFError
    return body if prefix else None


@contextlib.contextmanager
def _readable(path: Path, problem: str) -> Iterator[None]:
    try:
        yield
    except (EOFError, gzip.BadGzipFile, zlib.error, msgspec.DecodeError) as error:
        raise PulseError(f"{path} {problem}") from error
    except OSError as error:
        raise PulseError(f"{path} cannot be read: {error.strerror or error}") from error
