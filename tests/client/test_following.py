"""One subscription over its connections: resuming, coming back, silence, and frames that are none."""

import json
from typing import Any

import pytest

from processors.client.errors import Lost, Refused
from processors.client.following import Following
from processors.client.updates import Outage, Records, Reset, State
from schemas.frames import CLOSE_CODES, Subscribe

SNAPSHOT = {
    "type": "snapshot",
    "channel": "peers",
    "pos": "p1",
    "ts": 5,
    "source": "live",
    "as_of": 5,
    "data": {"a": 1},
}


DEEP = '{"type":"delta","channel":"peers","ts":1,"data":' + "[" * 100_000


def following(*channels: str, random: float = 0.5, silent_s: float = 15.0, **wish: Any) -> Following:
    return Following(Subscribe(channels=channels or ("peers",), **wish), lambda: random, silent_s)


def take(subject: Following, now: float = 0.0, /, **frame: Any) -> Any:
    return subject.take(json.dumps(frame), now)


def welcome(subject: Following, now: float, ts: int) -> None:
    take(subject, now, type="welcome", ts=ts, role="viewer", gateway="g")


def test_the_first_connection_asks_as_it_was_wished() -> None:
    wish = Subscribe(channels=("peers", "sync"), rate=0, fields=("id",), since={"sync": "s1"})
    assert Following(wish, lambda: 0.0, 15).open(0) == wish


def test_the_next_connection_asks_for_what_follows_the_positions() -> None:
    subject = following("peers", "sync")
    subject.open(0)
    take(subject, **SNAPSHOT)
    subject.lose("cut")
    assert subject.open(1).since == {"peers": "p1"}


def test_a_frame_of_a_kind_or_a_channel_that_is_not_known_tells_nothing() -> None:
    subject = following()
    subject.open(0)
    assert take(subject, type="weather", channel="peers") == ()
    assert take(subject, **SNAPSHOT | {"channel": "memory"}) == ()
    assert take(subject, **SNAPSHOT | {"unheard_of": [1]}) == (State("peers", {"a": 1}, None, "live", 5, 5),)


@pytest.mark.parametrize("text", ["", "x", "5", "[]", "{}", '{"type":5}', '{"type":"delta"}', b"\xff", DEEP])
def test_what_is_no_frame_ends_the_connection(text: str | bytes) -> None:
    with pytest.raises(Lost, match=r"^what the gateway sent is no frame: "):
        following().take(text, 0)


def test_delays_grow_to_fifteen_seconds() -> None:
    subject = following(random=1.0)
    delays = [subject.lose("cut", 1006).retry_in_s for _ in range(2_000)]
    assert delays[:8] == [0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 15.0]
    assert set(delays[8:]) == {15.0}


def test_delays_are_random_from_nothing_on() -> None:
    assert following(random=0.0).lose("cut") == Outage("cut", 0.0)
    assert following(random=0.5).lose("cut") == Outage("cut", 0.125)


def test_a_connection_that_lasted_until_a_pong_was_a_good_one() -> None:
    subject = following(random=1.0)
    for _ in range(5):
        subject.lose("cut")
    take(subject, type="pong", ts=1)
    assert subject.lose("cut").retry_in_s == 0.25


def test_a_connection_that_only_told_something_was_none() -> None:
    subject = following(random=1.0)
    subject.lose("cut")
    take(subject, **SNAPSHOT)
    assert subject.lose("cut").retry_in_s == 0.5


@pytest.mark.parametrize(("name", "delay_s"), [("too_slow", 0.0), ("going_away", 1.0)])
def test_some_close_codes_have_a_delay_of_their_own(name: str, delay_s: float) -> None:
    subject = following(random=0.5)
    for _ in range(9):
        subject.lose("cut")
    assert subject.lose("closed", CLOSE_CODES[name].code).retry_in_s == delay_s


@pytest.mark.parametrize("name", sorted({*CLOSE_CODES} - {"too_slow", "going_away", "policy", "expired"}))
def test_the_other_close_codes_have_a_growing_one(name: str) -> None:
    subject = following(random=1.0)
    assert [subject.lose("closed", CLOSE_CODES[name].code).retry_in_s for _ in range(3)] == [0.25, 0.5, 1.0]


@pytest.mark.parametrize("name", ["policy", "expired"])
def test_where_coming_back_would_not_help_it_is_refused_with_the_advice(name: str) -> None:
    row = CLOSE_CODES[name]
    with pytest.raises(Refused) as caught:
        following().lose("closed", row.code)
    assert caught.value.code == row.code
    assert str(caught.value) == f"the gateway refuses: {row.code}: {row.client_should}"


@pytest.mark.parametrize("code", ["unknown_channel", "bad_fields", "unauthorized", "out_of_reach", "of_tomorrow"])
def test_an_error_of_the_wish_is_refused(code: str) -> None:
    with pytest.raises(Refused, match=f"^the gateway refuses: {code}: no$"):
        take(following(), type="error", code=code, message="no")


def test_a_busy_gateway_is_come_back_to() -> None:
    subject = following()
    take(subject, **SNAPSHOT)
    with pytest.raises(Lost, match=r"^later$"):
        take(subject, type="error", code="busy", message="later")
    assert subject.open(1).since == {"peers": "p1"}


def test_a_position_that_is_refused_is_not_shown_again() -> None:
    subject = following("peers", "memory")
    take(subject, **SNAPSHOT)
    take(subject, **SNAPSHOT | {"channel": "memory"})
    with pytest.raises(Lost, match=r"^none of ours$"):
        take(subject, type="error", code="bad_position", message="none of ours", channel="peers")
    assert subject.open(1).since == {"memory": "p1"}


def test_a_ping_is_due_five_seconds_after_the_beginning_and_half_of_the_silence_after_a_word() -> None:
    subject = following()
    subject.open(100)
    assert subject.deadline_s == 105
    assert not subject.ask(104.9)
    assert subject.ask(105)
    assert subject.deadline_s == 110
    take(subject, 106, type="pong", ts=1)
    assert subject.deadline_s == 113.5


def test_a_connection_that_came_back_is_asked_before_it_counts_as_one_that_lasts() -> None:
    subject = following()
    subject.open(90)
    subject.lose("cut")
    subject.open(100)
    take(subject, 101, **SNAPSHOT)
    assert subject.ask(105)


def test_fifteen_seconds_without_a_word_are_the_end_of_a_connection() -> None:
    subject = following()
    subject.open(100)
    take(subject, 100, **SNAPSHOT)
    assert subject.ask(107.5)
    assert subject.ask(112.5)
    assert subject.deadline_s == 115
    with pytest.raises(Lost, match=r"^nothing was heard for 15 s$"):
        subject.ask(115)
    assert subject.grow_stale(115) == [State("peers", {"a": 1}, {}, "live", 5, 5, stale=True)]


def test_who_was_busy_for_a_while_has_to_ask_first() -> None:
    subject = following()
    subject.open(100)
    assert subject.ask(105)
    take(subject, 106, **SNAPSHOT)
    assert subject.ask(160)
    assert subject.deadline_s == 165


def test_a_state_is_stale_fifteen_seconds_after_the_last_word_and_says_it_once() -> None:
    subject = following("peers", "sync")
    subject.open(100)
    take(subject, 103, **SNAPSHOT)
    subject.lose("cut")
    assert subject.stale_s == 118
    assert subject.grow_stale(117.9) == ()
    assert subject.grow_stale(118) == [State("peers", {"a": 1}, {}, "live", 5, 5, stale=True)]
    assert subject.grow_stale(119) == ()
    subject.open(120)
    update = take(subject, 120, type="delta", channel="peers", ts=6, data={})
    assert update == (State("peers", {"a": 1}, {}, "live", 5, 6),)
    assert subject.stale_s == 135


def test_nothing_is_stale_before_anything_was_heard() -> None:
    subject = following()
    subject.lose("refused")
    assert subject.grow_stale(1e9) == ()


def test_a_reset_begins_anew() -> None:
    subject = following("sync")
    take(subject, type="snapshot", channel="sync", ts=1, pos="s1", data=[1])
    assert take(subject, type="reset", channel="sync", reason="epoch") == (Reset("sync", "epoch"),)
    update = take(subject, type="snapshot", channel="sync", ts=2, pos="t1", data=[2])
    assert update == (Records("sync", [2], 2, "t1", snapshot=True),)


def test_the_past_is_gone_on_with_where_the_connection_was_lost() -> None:
    subject = following(at=1_000_000, speed=10)
    assert subject.open(50).at == 1_000_000
    welcome(subject, 50, 2_000_000)
    take(subject, 56, **SNAPSHOT)
    message = subject.open(70)
    assert (message.at, message.since) == (1_060_000, {})
    welcome(subject, 70, 2_020_000)
    take(subject, 71, **SNAPSHOT)
    assert subject.open(90).at == 1_070_000


def test_the_past_that_has_come_up_with_the_present_goes_on_live() -> None:
    subject = following(at=1_000_000, speed=10)
    subject.open(50)
    welcome(subject, 50, 1_009_000)
    take(subject, 51, **SNAPSHOT)
    for now in (60, 61):
        message = subject.open(now)
        assert (message.at, message.since) == (None, {"peers": "p1"})


def test_a_moment_that_stands_still_is_asked_for_again() -> None:
    subject = following(at=1_000_000, speed=0)
    subject.open(50)
    welcome(subject, 50, 2_000_000)
    take(subject, 80, **SNAPSHOT)
    assert subject.open(90).at == 1_000_000
