"""Manifests, from a node's signed POST to what clients see, through everything that `ark-pulse up` starts."""

import json
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

from tests.stack import Stack, running_stack, wait_for


def _peer(stack: Stack, *arguments: str) -> None:
    command = [str(Path(sys.executable).parent / "ark-pulse"), "peer", *arguments]
    subprocess.run(command, env=stack.environment, check=True, capture_output=True, timeout=20)


def _row(stack: Stack, peer_id: str) -> Any:
    answer = stack.get("/api/v1/peers") or {"peers": []}
    return next((row for row in answer["peers"] if row["id"] == peer_id), None)


def test_a_registered_peer_is_pushed_to_clients_and_listed_for_others(tmp_path: Path) -> None:
    key = str(tmp_path / "node.key")
    with running_stack(tmp_path) as (stack, _):
        _peer(stack, "keygen", "--out", key)
        _peer(stack, "register", "--key", key, "--node-id", "ark-node-7", "--tier", "core", "--latency", "12.5")
        row = wait_for("the peer is on the roster", lambda: _row(stack, "ark-node-7"))
        assert (row["learnt_from"], row["tier"], row["latency_ms"], row["status"]) == (
            "manifest",
            "verified",
            12.5,
            "online",
        )
        with urllib.request.urlopen(f"http://127.0.0.1:{stack.federation_port}/discover", timeout=5) as answer:
            listed = json.load(answer)
    assert [peer["node_id"] for peer in listed["peers"]] == ["ark-node-7"]
