"""What a dead letter says, and what can be made of it."""

from collections import Counter

import pytest

from processors.collectors.sync_events import COLLECTOR, read_item
from processors.tools.errors import LetterStays
from processors.tools.letters import Choice, Letter, clause_of, read_letter, report_of, shares_of, text_of
from schemas import codec
from schemas.events import Event, Heartbeat, PeerGone, SyncIn, SyncOut
from schemas.metrics import DeadLetter
from schemas.streams import partition_of

READERS = {COLLECTOR: read_item}
GONE = '{"t":"peer_gone","peer":"a","ts":1}'


def letter(excerpt: str = "", *, by: str = "aggregator", reason: str = "r", whole: bool = True, **more: str) -> Letter:
    return Letter("1-1", DeadLetter(ts=5, rejected_by=by, reason=reason, excerpt=excerpt, whole=whole, **more))


def shares(said: Letter) -> dict[str, list[Event]]:
    return shares_of(said, READERS, 16)


@pytest.mark.parametrize(
    ("reason", "clause"),
    [
        ("latency is not a number: 'abc'", "latency is not a number: '…'"),
        ("latency is not a number: 'cut off by its leng", "latency is not a number: '…'"),
        ('status is not online, offline or syncing: "it\'s"; x', "status is not online, offline or syncing: '…'; x"),
        ("latency is not a number: 'it\\'s'; tier: 'b'", "latency is not a number: '…'; tier: '…'"),
        ("invalid value 'unheard_of' - at `$.t`", "invalid value '…' - at `$.t`"),
        ("expected `int`, got `str` - at `$.ts`", "expected `int`, got `str` - at `$.ts`"),
        ("JSON is malformed: invalid character (byte 41)", "JSON is malformed: invalid character (byte …)"),
        ("belongs into partition 12", "belongs into partition …"),
        ("reasoning_stages 17: created_at is not a time", "reasoning_stages …: created_at is not a time"),
        ("row 5 of code_patterns is too big", "row … of code_patterns is too big"),
        ("source must be text of 1 to 256 characters", "source must be text of 1 to 256 characters"),
        ("the row isn't here", "the row isn't here"),
    ],
)
def test_a_reason_is_counted_without_the_value_that_stands_in_it(reason: str, clause: str) -> None:
    assert clause_of(reason) == clause


def test_an_entry_that_is_no_letter_is_listed_with_what_is_wrong() -> None:
    said = read_letter("7-1", {b"v": b"9", b"d": b"{}"}).said
    assert (said.ts, said.rejected_by) == (7, "ark:dead")
    assert said.reason == "entry cannot be read: schema version 9 is newer than this release understands"


@pytest.mark.parametrize(
    ("choice", "taken"),
    [
        (Choice(), True),
        (Choice("peers"), True),
        (Choice("sync_events"), False),
        (Choice(reason="not a number"), True),
        (Choice("peers", "not JSON"), False),
    ],
)
def test_letters_are_chosen_by_source_and_by_a_part_of_the_reason(choice: Choice, *, taken: bool) -> None:
    assert choice.takes(letter(by="peers", reason="latency is not a number")) is taken


def test_the_most_frequent_reasons_are_told_and_the_others_counted() -> None:
    counts = Counter({("peers", f"r{number}"): 100 - number for number in range(23)})
    lines = report_of([], counts)
    assert lines[0] == "   100  peers: r0"
    assert lines[20] == "   237  for 3 other reasons"


def test_a_long_excerpt_is_cut_in_a_list_and_whole_when_it_is_shown() -> None:
    said = letter("x" * 100)
    assert report_of([said], Counter({("a", "r"): 1}))[-1].endswith(f"aggregator: r  {'x' * 60}…")
    assert text_of(said)[-1] == f"input       {'x' * 100}"


def test_a_time_that_is_none_is_shown_as_a_number() -> None:
    said = Letter("1-1", DeadLetter(ts=10**17, rejected_by="x", reason="r"))
    assert text_of(said)[1] == "when        100000000000000000 ms"


def test_an_entry_is_read_again_into_the_partition_of_each_of_its_events() -> None:
    other = next(peer for peer in "bcdefg" if partition_of(peer, 16) != partition_of("a", 16))
    body = f'[{GONE},{{"t":"heartbeat","peer":"{other}","ts":2}}]'
    assert shares(letter(body, reason="field v is missing")) == {
        partition_of("a", 16): [PeerGone(peer="a", ts=1)],
        partition_of(other, 16): [Heartbeat(peer=other, ts=2)],
    }


def test_what_the_simulated_partition_rejected_stays_in_it() -> None:
    assert list(shares(letter(GONE, partition="sim"))) == ["sim"]


def test_an_item_of_sync_events_is_read_as_its_collector_reads_it() -> None:
    said = letter('{"source":"a","target":"b","bytes":7}', by=COLLECTOR)
    assert [event for share in shares(said).values() for event in share] == [
        SyncOut(ts=5, sender="a", target="b", bytes=7),
        SyncIn(ts=5, peer="b"),
    ]


@pytest.mark.parametrize(
    ("said", "why"),
    [
        (letter("x", by="peers"), "its source still holds the input, and peers reads it again at every look"),
        (letter(GONE, whole=False), "it does not hold all of the input, or some of that was used"),
        (letter("[]]"), "it would be rejected again: JSON is malformed: trailing characters (byte 3)"),
        (letter(f"[{GONE},5]"), "it would be rejected again: expected `object`, got `int`"),
        (letter("5", by=COLLECTOR), "it would be rejected again: item is not an object of usable values"),
        (read_letter("1-1", {}), "entry cannot be read: field v is missing"),
    ],
)
def test_a_letter_that_cannot_be_replayed_says_why(said: Letter, why: str) -> None:
    with pytest.raises(LetterStays) as caught:
        shares(said)
    assert (caught.value.why, str(caught.value)) == (why, f"letter 1-1 stays: {why}")


def test_an_item_that_was_used_in_part_is_not_whole() -> None:
    *_, told = read_item(b'{"source":"a","target":"b","bytes":-1}', 5)
    (refused,) = read_item(b'{"source":"a"}', 5)
    assert [b'"whole":true' in codec.encode(event) for event in (told, refused)] == [False, True]


@pytest.mark.parametrize("item", [b"\xff", b"x" * 1_025, "ä".encode() * 600])
def test_an_item_that_is_cut_off_or_no_text_is_not_whole(item: bytes) -> None:
    (refused,) = read_item(item, 5)
    assert b'"whole"' not in codec.encode(refused)
