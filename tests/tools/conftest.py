"""ARK's Redis for the tests of the tools."""

from collections.abc import Iterator

import pytest
from redis import Redis


@pytest.fixture
def ark_url(server_url: str) -> str:
    """A database of the session's server that no other test uses."""
    return server_url.removesuffix("0") + "2"


@pytest.fixture
def ark(ark_url: str) -> Iterator[Redis]:
    """A blocking client of it; it is empty before the test."""
    with Redis.from_url(ark_url, decode_responses=True) as client:
        client.flushdb()
        yield client
