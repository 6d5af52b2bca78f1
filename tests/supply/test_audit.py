"""What the audit makes of the answers it may get."""

import subprocess
import sys
from pathlib import Path
from typing import Any, NoReturn

import pytest

from tests.supply import audit

CLEAN = {"name": "redis", "version": "8.1.0", "vulns": []}
UNKNOWN = {"name": "honcho", "skip_reason": "Dependency not found on PyPI and could not be audited: honcho (2.0.0)"}
FLAW = {"id": "PYSEC-1", "fix_versions": ["9.9", "10"], "aliases": ["CVE-2026-1"], "description": "bad"}


def verdict(*packages: dict[str, Any]) -> tuple[int, list[str]]:
    return audit.verdict({"dependencies": list(packages), "fixes": []})


def test_packages_without_a_flaw_pass() -> None:
    assert verdict(CLEAN) == (0, ["audit: 1 of 1 packages looked up, 0 vulnerabilities"])


def test_packages_that_nobody_knows_pass_but_are_not_said_to_be_well() -> None:
    line = "audit: 1 of 2 packages looked up, 0 vulnerabilities; 1 NOT AUDITED, the index tells nothing of them"
    assert verdict(CLEAN, UNKNOWN) == (0, [line])


def test_a_vulnerability_fails_and_says_what_mends_it() -> None:
    code, lines = verdict({**CLEAN, "vulns": [FLAW]}, UNKNOWN)
    assert (code, lines[1:]) == (1, ["  redis 8.1.0: PYSEC-1 CVE-2026-1, mended in 9.9 10"])


def test_without_the_tool_or_its_answer_it_passes_and_says_so_in_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def cannot_install(*_: object) -> NoReturn:
        raise subprocess.CalledProcessError(1, "pip")

    def has_no_tool(*_: object) -> Path:
        return Path(sys.executable)

    def does_not_end(*_: object, **__: object) -> NoReturn:
        raise subprocess.TimeoutExpired("pip_audit", 60)

    monkeypatch.setattr(audit, "python_of", cannot_install)
    assert audit.main() == 0
    monkeypatch.setattr(audit, "python_of", has_no_tool)
    assert audit.main() == 0
    monkeypatch.setattr(subprocess, "run", does_not_end)
    assert audit.main() == 0
    installing, answering, waiting = capsys.readouterr().out.splitlines()
    assert installing == "audit: NOT AUDITED, its tools could not be installed"
    assert answering.startswith("audit: NOT AUDITED: ")
    assert answering.endswith("No module named pip_audit")
    assert waiting == "audit: NOT AUDITED, the index did not answer within 60 s"
