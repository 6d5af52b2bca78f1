"""What the Makefile promises, where no document's session does it."""

import re
import subprocess
from pathlib import Path

from tests.docs.blocks import ROOT
from tests.docs.session import Reader

PORTS = {"8101": 1, "9001": 1, "6379": 1}


def test_make_test_runs_the_tests_that_it_is_given(tmp_path: Path) -> None:
    reader = Reader(tmp_path / "ark-pulse", "redis://127.0.0.1:1/0", PORTS)
    few = "tests/schemas/test_positions.py --numprocesses=0 --dist=no -p no:cacheprovider"
    reader.run("make", f'\nmake test PYTEST_ARGS="{few}"\n', 120)


def test_make_help_names_every_target() -> None:
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    (targets,) = re.findall(r"^\.PHONY: (.*)$", text, re.MULTILINE)
    shown = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert re.findall(r"^make (\w+)", shown, re.MULTILINE) == [name for name in targets.split() if name != "help"]
