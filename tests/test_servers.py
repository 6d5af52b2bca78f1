"""How the tests choose their server. No engine answers where this was written: the container itself is a stand-in."""

from pathlib import Path
from types import TracebackType
from typing import Self

import docker
import pytest
import testcontainers.community.redis
from docker.errors import DockerException

from tests import servers


class Engine:
    """A Docker client whose engine answers."""

    def close(self) -> None:
        pass


class Container:
    """A container that runs at a known address."""

    def __init__(self, image: str) -> None:
        assert image == "redis:7"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        pass

    def get_container_host_ip(self) -> str:
        return "127.0.0.1"

    def get_exposed_port(self, port: int) -> int:
        assert port == 6379
        return 32_768


def no_engine(**_: object) -> Engine:
    raise DockerException("no such socket")


@pytest.fixture(autouse=True)
def _unset(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ARK_TEST_REDIS_URL", raising=False)


def test_a_server_that_is_named_comes_first(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ARK_TEST_REDIS_URL", "redis://named")
    monkeypatch.setattr(docker, "from_env", lambda **_: Engine())
    assert servers.choose_server() == "url"
    with servers.running_server(tmp_path) as url:
        assert url == "redis://named"


def test_a_container_is_used_where_an_engine_answers(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(docker, "from_env", lambda **_: Engine())
    monkeypatch.setattr(testcontainers.community.redis, "RedisContainer", Container)
    assert servers.choose_server() == "docker"
    with servers.running_server(tmp_path) as url:
        assert url == "redis://127.0.0.1:32768/0"


def test_a_docker_command_without_an_engine_leaves_the_embedded_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(docker, "from_env", no_engine)
    assert servers.choose_server() == "embedded"
