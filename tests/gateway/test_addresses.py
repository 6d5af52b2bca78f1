from ipaddress import ip_address, ip_network

import pytest

from processors.gateway.addresses import client_address, same_origin, same_place

PROXIES = (ip_network("127.0.0.1/32"), ip_network("10.0.0.0/8"), ip_network("fd00::/8"))


@pytest.mark.parametrize(
    ("peer", "forwarded", "client"),
    [
        ("192.0.2.1", [], "192.0.2.1"),
        ("192.0.2.1", ["198.51.100.9"], "192.0.2.1"),
        ("127.0.0.1", [], "127.0.0.1"),
        ("127.0.0.1", ["198.51.100.9"], "198.51.100.9"),
        ("127.0.0.1", ["6.6.6.6, 198.51.100.9"], "198.51.100.9"),
        ("127.0.0.1", ["6.6.6.6", "198.51.100.9, 10.0.0.7"], "198.51.100.9"),
        ("127.0.0.1", ["10.0.0.7, 10.0.0.8"], "10.0.0.7"),
        ("127.0.0.1", ["198.51.100.9, unknown"], "127.0.0.1"),
        ("127.0.0.1", ["198.51.100.9:4711"], "127.0.0.1"),
        ("127.0.0.1", ["", ",,"], "127.0.0.1"),
        ("fd00::1", ["2001:db8::9"], "2001:db8::9"),
        ("::ffff:127.0.0.1", ["::ffff:198.51.100.9"], "198.51.100.9"),
    ],
)
def test_a_client_is_the_nearest_address_that_is_no_proxy(peer: str, forwarded: list[str], client: str) -> None:
    assert client_address(peer, forwarded, PROXIES) == ip_address(client)


def test_a_connection_that_has_gone_has_no_address() -> None:
    assert client_address(None, ["198.51.100.9"], PROXIES) is None


@pytest.mark.parametrize(
    ("address", "place"),
    [("192.0.2.1", "192.0.2.1"), ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"), ("::1", "::/64")],
)
def test_a_network_that_one_client_may_have_is_one_place(address: str, place: str) -> None:
    assert same_place(ip_address(address)) == place


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
