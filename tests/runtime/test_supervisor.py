import dataclasses
import os
import sys
from pathlib import Path

import pytest

from processors.cli import STAGES
from processors.runtime.errors import PulseError
from processors.runtime.settings import load_settings
from processors.runtime.supervisor import child_environment, read_procfile
from processors.runtime.up import DEFAULT_PROCFILE, shown_line


def _problem(tmp_path: Path, text: str) -> str:
    path = tmp_path / "Procfile"
    path.write_text(text)
    with pytest.raises(PulseError) as error:
        read_procfile(path, {})
    return str(error.value).removeprefix(f"{path}")


def test_a_procfile_gives_its_programs_in_order(tmp_path: Path) -> None:
    path = tmp_path / "Procfile"
    path.write_text("# the flow\nb: run 'one thing'\na: x\n")
    programs = read_procfile(path, {"A": "1"})
    assert [(program.name, program.argv) for program in programs] == [("b", ("run", "one thing")), ("a", ("x",))]


def test_a_name_that_comes_twice_is_refused(tmp_path: Path) -> None:
    assert _problem(tmp_path, "a: x\na: y\n") == ": process names must be unique within a Procfile"


def test_an_empty_procfile_is_refused(tmp_path: Path) -> None:
    assert _problem(tmp_path, "\n") == " names no process"


def test_a_quote_without_its_end_is_refused(tmp_path: Path) -> None:
    assert _problem(tmp_path, "a: run 'x\n") == ": no closing quotation"


def test_our_procfile_has_one_line_a_stage_in_the_order_of_the_flow() -> None:
    programs = read_procfile(DEFAULT_PROCFILE, {})
    assert [program.argv for program in programs] == [("ark-pulse", "run", stage) for stage in STAGES]


def test_workers_find_the_running_python_first() -> None:
    path = child_environment({"PATH": "/bin"}, None)["PATH"]
    assert path == f"{Path(sys.executable).parent}{os.pathsep}/bin"


def test_a_bus_of_the_environment_is_left_as_it_is() -> None:
    assert child_environment({"ARK_BUS_URL": "redis://a"}, None)["ARK_BUS_URL"] == "redis://a"


def test_the_embedded_bus_is_named_to_the_workers() -> None:
    assert child_environment({}, "redis://b")["ARK_BUS_URL"] == "redis://b"


@pytest.mark.parametrize(
    ("half", "source", "line"),
    [
        ("federation", "live", "It shows the federation mesh live from redis://h:1/0"),
        ("memory", "live", "It shows the memory engine live from base/data"),
        ("federation", "stale", "It shows stale values of the federation mesh; `ark-pulse doctor` tells why"),
        ("memory", "simulated", "It shows the memory engine simulated, not yours; `ark-pulse doctor` tells why"),
        ("memory", "unknown", "What it shows of the memory engine is not known; `ark-pulse doctor` tells more"),
    ],
)
def test_the_start_tells_what_each_half_shows(half: str, source: str, line: str) -> None:
    settings = load_settings({"REDIS_URL": "redis://u:secret@h:1/0"})
    settings = dataclasses.replace(settings, ark_base_path=Path("base"))
    assert shown_line(half, source, settings) == line


def test_what_is_shown_names_the_service_that_is_followed_without_its_password() -> None:
    settings = load_settings({"ARK_FEDERATION_URL": "http://user:secret@other:9001"})
    line = "It shows the federation mesh live from redis://localhost:6379/0 and http://other:9001"
    assert shown_line("federation", "live", settings) == line
