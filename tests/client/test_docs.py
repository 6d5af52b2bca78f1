"""The Python example of docs/clients.md, run as it stands."""

import asyncio
import contextlib
import re
from pathlib import Path

import pytest

from processors.client import channel_client
from tests.client.scripted import eventually, scripted_gateway

TEXT = (Path(__file__).parents[2] / "docs" / "clients.md").read_text(encoding="utf-8")


async def test_the_example_prints_what_the_gateway_tells(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (example,) = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
    said = ""

    def has_said(line: str) -> bool:
        nonlocal said
        said += capsys.readouterr().out
        return line in said

    async with scripted_gateway() as gateway:
        code = compile(example.replace("http://127.0.0.1:8101", gateway.url), "clients.md", "exec")
        names: dict[str, object] = {"__name__": "example"}
        tasks: list[asyncio.Task[None]] = []
        monkeypatch.setattr(asyncio, "run", lambda main: tasks.append(asyncio.create_task(main)))
        exec(code, names)
        await gateway.set("federation", {"online_peers": 3})
        await gateway.add({"from": "a", "to": "b"})
        await eventually(lambda: has_said("live 3\n") and has_said("{'from': 'a', 'to': 'b'}"))
        tasks[0].cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await tasks[0]
    assert channel_client.connect is names["connect"]
