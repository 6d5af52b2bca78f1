import pytest

from processors.gateway.legacy_asks import Ask, understand


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
