"""The file of a backup: whole or not at all, and refused where it is none of ours."""

import gzip
import os
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from processors.runtime.errors import PulseError
from processors.tools.archive import check_archive, read_archive, writing
from schemas.snapshots import Header, Piece, PieceOfHash, PieceOfStream, encode, pieces_of_hash, pieces_of_stream

HEADER = Header(release="1", partitions=16, taken=5)
PIECES: list[Piece] = [
    PieceOfHash(b"\xff", {b"\xfe": b"\x00"}),
    PieceOfStream(b"s", b"7-1", [(b"5-1", {b"d": b"x" * 70_000})]),
]


def write(path: Path, header: Header = HEADER) -> Path:
    with writing(path) as add:
        add(header)
        for piece in PIECES:
            add(piece)
    return path


def refusal(path: Path) -> str:
    with pytest.raises(PulseError) as raised:
        check_archive(path)
    return str(raised.value)


def test_what_was_written_is_read(tmp_path: Path) -> None:
    header, pieces = read_archive(write(tmp_path / "b"))
    assert (header, list(pieces)) == (HEADER, PIECES)
    assert check_archive(tmp_path / "b") == HEADER


def test_only_its_user_may_read_it(tmp_path: Path) -> None:
    assert stat.S_IMODE(write(tmp_path / "b").stat().st_mode) == 0o600


def test_a_file_that_was_not_finished_leaves_nothing_and_the_older_one_in_its_place(tmp_path: Path) -> None:
    (tmp_path / "b").write_text("older")
    unfinished = writing(tmp_path / "b")
    unfinished.__enter__()(HEADER)
    assert not unfinished.__exit__(RuntimeError, RuntimeError(), None)
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("b", "older")]


def test_a_file_that_ends_too_early_is_refused_wherever_it_ends(tmp_path: Path) -> None:
    body = write(tmp_path / "b").read_bytes()
    for length in range(len(body)):
        (tmp_path / "b").write_bytes(body[:length])
        assert refusal(tmp_path / "b").endswith(("is cut off, or damaged", "is no backup of a bus"))
    assert refusal(tmp_path / "b").endswith("is cut off, or damaged")


def test_a_file_of_somebody_else_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "b"
    whole = encode(HEADER)
    for body in (b"", b"PK", gzip.compress(b""), gzip.compress(b"{}"), gzip.compress(b"\0\0\0\1\x80"), whole):
        path.write_bytes(body)
        assert refusal(path) == f"{path} is no backup of a bus"


def test_a_file_of_a_newer_format_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "b", Header(format=2, release="9", partitions=1, taken=0))
    assert refusal(path) == f"{path} is of format 2, this release reads 1: upgrade first"


def test_a_file_that_is_not_there_is_said_to_be_so(tmp_path: Path) -> None:
    assert refusal(tmp_path / "b") == f"{tmp_path / 'b'} cannot be read: No such file or directory"


def test_a_place_that_cannot_be_written_is_said_to_be_so(tmp_path: Path) -> None:
    with pytest.raises(PulseError, match="cannot be written: No such file or directory"):
        write(tmp_path / "none" / "b")


@pytest.mark.parametrize("kind", ["link", "pipe"])
def test_what_is_no_ordinary_file_is_not_replaced(tmp_path: Path, kind: str) -> None:
    path, target = tmp_path / "b", tmp_path / "target"
    if kind == "link":
        path.symlink_to(target)
    else:
        os.mkfifo(path)
    with pytest.raises(PulseError, match=r"b cannot be written: it is no ordinary file$"):
        write(path)
    assert path.is_symlink() or path.is_fifo()


@given(st.dictionaries(st.binary(max_size=3), st.binary(max_size=3), max_size=1_200))
def test_the_pieces_of_a_hash_are_the_hash(fields: dict[bytes, bytes]) -> None:
    pieces = list(pieces_of_hash(b"k", fields))
    assert {name: value for piece in pieces for name, value in piece.fields.items()} == fields
    assert all(0 < len(piece.fields) <= 500 for piece in pieces)


@given(st.integers(0, 350))
def test_the_pieces_of_a_stream_are_the_stream_and_the_last_has_its_newest_id(count: int) -> None:
    entries = [(b"%d-0" % number, {b"d": b""}) for number in range(count)]
    pieces = list(pieces_of_stream(b"k", b"999-0", entries))
    assert [entry for piece in pieces for entry in piece.entries] == entries
    assert [piece.top for piece in pieces] == [*(piece.entries[-1][0] for piece in pieces[:-1]), b"999-0"]
