import json

import pytest
from msgspec import to_builtins

from processors.tools import partitions as module
from processors.tools.partitions import partitions
from schemas.answers import PartitionSeen

SEEN = (
    PartitionSeen(name="0", owner="host/1/ab\x1b", epoch="e", n=7, position="5-1", lag_entries=100, lag_ms=3, fenced=2),
    PartitionSeen(name="sim"),
)


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ask_bus", lambda settings, work: SEEN)


@pytest.mark.usefixtures("shown")
def test_each_partition_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    partitions(None, json_text=False)  # type: ignore[arg-type]
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert lines == [
        ["partition", "owner", "epoch", "n", "position", "waiting", "lag", "ms", "fenced"],
        ["0", "host/1/ab\\x1b", "e", "7", "5-1", "100+", "3", "2"],
        ["sim", "nobody", "-", "0", "0-0", "0", "0", "0"],
    ]


@pytest.mark.usefixtures("shown")
def test_as_json_all_of_it_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    partitions(None, json_text=True)  # type: ignore[arg-type]
    told = json.loads(capsys.readouterr().out)["partitions"]
    assert told[0]["fenced"] == 2
    assert told[1] == to_builtins(SEEN[1])
