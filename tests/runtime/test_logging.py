"""The log: two forms, no line that somebody outside wrote, and no end of the same one."""

import datetime as dt
import json
import logging
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import pytest

from processors.runtime import logging as module
from processors.runtime.logging import configure_logging, get_logger
from processors.runtime.settings import load_settings

ROOT: Final = Path(__file__).parent.parent.parent
HOSTILE: Final = "a\n2026-01-01 00:00:00+0000 ERROR   ark_pulse.bus[1]: all is lost\x1b[2J\x07\u2028\u202e\ud800"


@pytest.fixture
def log(capsys: pytest.CaptureFixture[str]) -> Iterator[Callable[[], str]]:
    """Gives what was written to standard error; the loggers are as they were afterwards."""
    root, ours = logging.getLogger(), logging.getLogger("ark_pulse")
    handlers, levels = root.handlers[:], (root.level, ours.level)
    yield lambda: capsys.readouterr().err
    root.handlers[:] = handlers
    root.setLevel(levels[0])
    ours.setLevel(levels[1])


def configure(form: str = "text", level: str = "info") -> None:
    configure_logging("gateway", load_settings({"ARK_LOG_FORMAT": form, "ARK_LOG_LEVEL": level}))


def refuse() -> None:
    raise ValueError(HOSTILE)


def fail() -> None:
    """Log an exception with a traceback."""
    try:
        refuse()
    except ValueError:
        get_logger("collectors").exception("%s failed", "peers")


def test_a_line_of_text_says_when_how_bad_who_and_what(log: Callable[[], str]) -> None:
    configure()
    get_logger("bus").warning("waiting for the bus: %s", "no route")
    line = log()
    assert re.fullmatch(
        r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d[+-]\d{4} WARNING ark_pulse\.bus\[\d+]: waiting for the bus: no route\n", line
    )
    moment = dt.datetime.strptime(line[:24], "%Y-%m-%d %H:%M:%S%z")
    assert abs((dt.datetime.now(dt.UTC) - moment).total_seconds()) < 5


def test_a_line_of_json_has_the_same_fields_always(log: Callable[[], str]) -> None:
    configure("json")
    get_logger("bus").info("took up %d of %d duties", 3, 4)
    fail()
    first, second = map(json.loads, log().splitlines())
    assert first.keys() == {"time", "level", "stage", "pid", "logger", "message"}
    assert (first["level"], first["stage"], first["logger"]) == ("info", "gateway", "ark_pulse.bus")
    assert first["message"] == "took up 3 of 4 duties"
    assert dt.datetime.fromisoformat(first["time"]).utcoffset() == dt.timedelta(0)
    assert second.keys() == {*first.keys(), "exception"}
    assert HOSTILE in second["exception"]


@pytest.mark.parametrize("form", ["text", "json"])
def test_nothing_from_outside_ends_a_line_or_reaches_the_terminal(log: Callable[[], str], form: str) -> None:
    configure(form)
    get_logger("collectors").info("%s is live", HOSTILE)
    written = log()
    assert written.count("\n") == 1
    assert written.rstrip("\n").isprintable()


def test_no_line_of_a_traceback_can_be_taken_for_one_of_the_log(log: Callable[[], str]) -> None:
    configure()
    fail()
    _, *rest = log().rstrip("\n").split("\n")
    assert all(line.startswith("    ") and line.isprintable() for line in rest)
    assert any(line.strip() == "ValueError: a" for line in rest)


def test_of_libraries_only_warnings_are_logged(log: Callable[[], str]) -> None:
    configure(level="debug")
    logging.getLogger("aiohttp.server").info("chatter")
    logging.getLogger("aiohttp.server").warning("trouble")
    get_logger("bus").debug("detail")
    assert re.findall(r": (\w+)$", log(), re.MULTILINE) == ["trouble", "detail"]


def test_what_is_said_again_and_again_is_left_out_until_the_minute_is_over() -> None:
    now = 0.0
    limit = module._Limit(lambda: now)

    def said(text: str = "the bus is lost: %s", *values: object) -> str | None:
        record = logging.LogRecord("ark_pulse.gateway", logging.WARNING, "", 0, text, values, None)
        return record.getMessage() if limit.filter(record) else None

    lines = [said("the bus is lost: %s", number) for number in range(1_000)]
    assert lines[58] == "the bus is lost: 58"
    assert lines[59] == "the bus is lost: 59 (for the rest of the minute more of these are left out)"
    assert lines[60:] == [None] * 940
    assert said("following the bus") == "following the bus"
    now = 59.9
    assert said("the bus is lost: %s", "late") is None
    now = 60.0
    assert said("the bus is lost: %s", "again") == "the bus is lost: again"


def test_nothing_that_operators_ask_for_is_left_out() -> None:
    limit = module._Limit(lambda: 0.0)
    line = logging.makeLogRecord({"name": "ark_pulse.audit", "msg": "%s asks for it"})
    assert all(limit.filter(line) for _ in range(1_000))
    assert line.msg == "%s asks for it"


def test_kinds_of_lines_without_end_take_no_more_memory() -> None:
    limit = module._Limit()
    for number in range(5_000):
        limit.filter(logging.LogRecord("library", logging.WARNING, "", 0, f"value {number}", (), None))
    assert len(limit._minutes) <= 1_000


def test_every_line_that_the_documentation_explains_is_one_of_ours() -> None:
    text = (ROOT / "docs" / "monitoring.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (\w+) \| `(.+?)` \|", text.partition("## Logs")[2], re.MULTILINE)
    assert len(rows) > 10
    source = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "processors").rglob("*.py"))
    assert [line for _, line in rows if f'"{line}"' not in source] == []
    assert {level for level, _ in rows} <= {"info", "warning", "error"}
