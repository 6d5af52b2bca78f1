import json

import msgspec
import pytest

from processors.gateway.encodings import JSON, MSGPACK, SERVER_SENT, msgpack_of, text_frame
from schemas.frames import Event, Pong, Snapshot


@pytest.mark.parametrize(
    ("size", "header"),
    [
        (0, "8100"),
        (125, "817d"),
        (126, "817e007e"),
        (65_535, "817effff"),
        (65_536, "817f0000000000010000"),
    ],
)
def test_a_frame_is_final_unmasked_text_with_its_length(size: int, header: str) -> None:
    assert text_frame(b"x" * size) == bytes.fromhex(header) + b"x" * size


def test_a_frame_in_msgpack_is_binary() -> None:
    encoded = MSGPACK.frame(Pong(ts=1))
    assert encoded[0] == 0x82
    assert msgspec.msgpack.decode(encoded[2:]) == {"type": "pong", "ts": 1}


def test_records_that_are_kept_as_json_travel_as_msgpack_too() -> None:
    event = Event(channel="sync", ts=1, data=[msgspec.Raw(b'{"bytes":5}')])
    assert msgspec.msgpack.decode(msgpack_of(event))["data"] == [{"bytes": 5}]


def test_frames_that_are_written_at_once_stand_one_after_the_other() -> None:
    assert JSON.pack([text_frame(b"a"), text_frame(b"b")], ["p"]) == b"\x81\x01a\x81\x01b"


def test_a_server_sent_event_has_its_frames_type_and_the_positions_of_all_channels() -> None:
    frame = SERVER_SENT.frame(Snapshot(channel="sources", ts=1, data={}))
    size, _, rest = SERVER_SENT.pack([frame], [msgspec.UNSET, "p1", "p2"]).partition(b"\r\n")
    assert len(rest) == int(size, 16) + 2
    name, data, identity = [line for line in rest.decode().split("\n") if line.strip()]
    assert (name, identity) == ("event: snapshot", "id: .p1.p2")
    assert json.loads(data.removeprefix("data: "))["channel"] == "sources"


def test_pieces_before_the_last_have_no_id() -> None:
    assert b"id:" not in SERVER_SENT.pack([SERVER_SENT.frame(Pong(ts=1))], [])
