import pytest

from processors.gateway.session import EXCESS_PER_S, Ask, Meter, same_origin, understand


@pytest.mark.parametrize("text", ["ping", " ping\n", '{"type":"ping"}', '{"action":"ping","x":[1]}'])
def test_a_ping_is_understood(text: str) -> None:
    assert understand(text) is Ask.PING


@pytest.mark.parametrize(
    "text", ["refresh", '{"type":"refresh"}', '{"action":"refresh"}', '{"type":"x","action":"refresh"}']
)
def test_a_refresh_is_understood(text: str) -> None:
    assert understand(text) is Ask.REFRESH


@pytest.mark.parametrize(
    "text", ["", "PING", "5", "null", "[]", "{}", '{"type":5}', '{"type":["ping"]}', "[" * 60_000, "\ud800"]
)
def test_anything_else_is_unknown(text: str) -> None:
    assert understand(text) is Ask.UNKNOWN


def test_two_hundred_messages_a_second_are_answered() -> None:
    meter = Meter()
    assert not any(meter.count(0) for _ in range(EXCESS_PER_S))


def test_the_next_one_is_too_many() -> None:
    meter = Meter()
    assert [meter.count(0) for _ in range(EXCESS_PER_S + 1)][-1]


def test_a_second_later_the_count_begins_again() -> None:
    meter = Meter()
    for _ in range(EXCESS_PER_S):
        meter.count(0)
    assert meter.count(999)
    assert not meter.count(1_000)


def test_a_client_is_told_once_a_second_that_it_is_not_understood() -> None:
    meter = Meter()
    assert [meter.may_complain(now) for now in (0, 500, 999, 1_000, 1_500)] == [True, False, False, True, False]


@pytest.mark.parametrize("origin", [None, "http://127.0.0.1:8101", "https://127.0.0.1:8101", "HTTP://127.0.0.1:8101"])
def test_the_own_page_and_programs_may_connect(origin: str | None) -> None:
    assert same_origin(origin, "127.0.0.1:8101")


@pytest.mark.parametrize(
    "origin",
    [
        "http://evil.example",
        "http://127.0.0.1:9999",
        "http://127.0.0.1",
        "null",
        "",
        "file://",
        "http://[",
        "http://127.0.0.1:8101@evil",
    ],
)
def test_other_origins_may_not(origin: str) -> None:
    assert not same_origin(origin, "127.0.0.1:8101")


def test_an_origin_needs_a_host() -> None:
    assert not same_origin("http://127.0.0.1:8101", None)
