"""Where a request comes from: whose page sent it, and when proxies stand between, who is believed."""

from collections.abc import Iterable, Sequence
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from typing import Final, TypeAlias
from urllib.parse import urlsplit

from processors.runtime.settings import Network

__all__ = ["Address", "client_address", "is_trusted", "read_address", "same_origin", "same_place"]

Address: TypeAlias = IPv4Address | IPv6Address
"""Of a machine."""

_PLACE_BITS: Final = 64


def read_address(text: str | None) -> Address | None:
    """The address that `text` is; None if it is none. One of IPv4 that is written as IPv6 is one of IPv4."""
    try:
        address = ip_address(text or "")
    except ValueError:
        return None
    return (address.ipv4_mapped if isinstance(address, IPv6Address) else None) or address


def is_trusted(address: Address | None, trusted: Iterable[Network]) -> bool:
    """Whether `address` is a proxy whose forwarded headers are believed."""
    return address is not None and any(address in network for network in trusted)


def client_address(peer: str | None, forwarded: Iterable[str], trusted: Sequence[Network]) -> Address | None:
    """The nearest address that is no trusted proxy: the connection's `peer`, or what the proxies say of it.

    `forwarded` are the values of X-Forwarded-For, each a list that grows at its end. What an untrusted one has written
    before is not looked at, nor anything before what is no address.
    """
    address = read_address(peer)
    hops = [hop.strip() for hop in ",".join(forwarded).split(",")]
    while is_trusted(address, trusted) and hops:
        before = read_address(hops.pop())
        if before is None:
            break
        address = before
    return address


def same_place(address: Address | None) -> str:
    """The name under which connections of one address are counted; one client may have all of an IPv6 /64."""
    if isinstance(address, IPv6Address):
        return str(IPv6Network((int(address), _PLACE_BITS), strict=False))
    return str(address)


def same_origin(origin: str | None, host: str | None) -> bool:
    """Whether a page of `origin` may connect: only one that was served under the same host and port.

    Programs that are no browsers send no Origin.
    """
    if origin is None:
        return True
    try:
        parts = urlsplit(origin)
    except ValueError:
        return False
    return parts.scheme in {"http", "https"} and host is not None and parts.netloc.lower() == host.lower()
