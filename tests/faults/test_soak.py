"""What `make soak` prints, reports and returns."""

import json
import sys
from pathlib import Path

import pytest

from tests.faults import soak
from tests.faults.report import Broken, Run
from tests.faults.table import Fault


def hold(run: Run, _seconds: float) -> None:
    run.strikes, run.recovered_s, run.memory = ["struck"], [1.5, 2.5], (100, 110)
    run.written["syncs"] = 1_000
    run.compare("I1", "", 3)


def breaks(run: Run, _seconds: float) -> None:
    run.compare("I1", "")
    raise Broken("I2", "two is not three")


def lack(run: Run, _seconds: float) -> None:
    run.left_out = "nothing is installed"


@pytest.fixture
def report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the report goes; there are three faults."""
    faults = [
        Fault("holds", "a fault that does no harm", "gently", hold, ()),
        Fault("breaks", "a fault that does", "by force", breaks, ()),
        Fault("lacks", "a fault that is not to be had", "with nothing", lack, ()),
    ]
    monkeypatch.setattr(soak, "FAULTS", {fault.name: fault for fault in faults})
    return tmp_path / "soak.md"


def run(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    monkeypatch.setattr(sys, "argv", ["soak", *words])
    return soak.main()


def test_a_run_in_which_all_held_ends_with_0_and_says_what_was_compared(
    report: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run(monkeypatch, "--seed", "7", "--only", "holds,lacks", "--report", str(report)) == 0
    text = report.read_text(encoding="utf-8")
    assert "## holds: a fault that does no harm\n\ngently\n\n- runs: 1, seeds 7\n- brought about: 1 times" in text
    assert "held, by comparisons with the oracle: I1 3 times\n- right again after 2.0 s (median), 2.5 s (worst)" in text
    assert "- not run here: nothing is installed" in text
    [held, lacking] = json.loads(report.with_suffix(".json").read_text(encoding="utf-8"))
    assert (held["seed"], held["written"], held["memory"]) == (7, {"syncs": 1_000}, [100, 110])
    assert lacking["left_out"] == "nothing is installed"


def test_a_run_that_broke_something_ends_with_1_and_says_how_to_repeat_it(
    report: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "--seed", "3", "--seconds", "5", "--report", str(report)) == 1
    said = capsys.readouterr().out
    assert "breaks, seed 3: 0 times; recovery was not timed; I2 BROKEN: I2: two is not three" in said
    assert 'make soak SOAK_ARGS="--only breaks --seed 3 --hours 0 --seconds 5"' in said
    assert "- **I2 broken** (seed 3): I2: two is not three" in report.read_text(encoding="utf-8")


def test_a_fault_that_there_is_not_is_named(report: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(monkeypatch, "--only", "flames") == 2
