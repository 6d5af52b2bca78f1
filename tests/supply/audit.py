"""`make audit`: known vulnerabilities of every version that is pinned.

Fails for a vulnerability. Where nobody can be asked it says so in one line and fails nothing, within two minutes.
"""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from typing import Any, Final

from tests.benchmarks.environments import python_of
from tests.supply.installed import ROOT

__all__ = ["AUDITED", "TOOLS", "main", "verdict"]

TOOLS: Final = ROOT / "deploy" / "supply-requirements.txt"
"""What audit and bill of materials need, to be installed into an environment of their own."""

AUDITED: Final = (ROOT / "deploy" / "constraints.txt", TOOLS)
"""Files of pins."""

_WITHIN_S: Final = 60
# Without them pip waits for minutes where nobody answers.
_IMPATIENT: Final = {"PIP_DEFAULT_TIMEOUT": "15", "PIP_RETRIES": "1"}


def verdict(report: dict[str, Any]) -> tuple[int, list[str]]:
    """The exit code for a report of pip-audit, and what to print."""
    asked = report["dependencies"]
    unknown = [each["name"] for each in asked if "skip_reason" in each]
    found = [(each, flaw) for each in asked for flaw in each.get("vulns", ())]
    lines = [f"audit: {len(asked) - len(unknown)} of {len(asked)} packages looked up, {len(found)} vulnerabilities"]
    if unknown:
        lines[0] += f"; {len(unknown)} NOT AUDITED, the index tells nothing of them"
    for each, flaw in found:
        names, mended = [flaw["id"], *flaw["aliases"]], flaw["fix_versions"] or ["no version"]
        lines.append(f"  {each['name']} {each['version']}: {' '.join(names)}, mended in {' '.join(mended)}")
    return int(bool(found)), lines


def main(options: Sequence[str] = ()) -> int:
    """Audit, with further options of pip-audit. Returns the exit code."""
    files = [word for path in AUDITED for word in ("--requirement", str(path))]
    try:
        command = [str(python_of("supply", TOOLS)), "-m", "pip_audit", *files, "--no-deps", "--disable-pip"]
        command += ["--format", "json", "--progress-spinner", "off", "--timeout", "5", *options]
        asked = subprocess.run(command, capture_output=True, timeout=_WITHIN_S, check=False)
        code, lines = verdict(json.loads(asked.stdout))
    except subprocess.CalledProcessError:
        code, lines = 0, ["audit: NOT AUDITED, its tools could not be installed"]
    except subprocess.TimeoutExpired:
        code, lines = 0, [f"audit: NOT AUDITED, the index did not answer within {_WITHIN_S} s"]
    except json.JSONDecodeError:
        # pip-audit gives no report at all when one question was not answered.
        said = asked.stderr.decode(errors="replace").strip()
        code, lines = 0, [f"audit: NOT AUDITED: {said.splitlines()[-1][:200] if said else 'no report'}"]
    print("\n".join(lines))
    return code


if __name__ == "__main__":
    os.environ.update(_IMPATIENT)
    sys.exit(main(sys.argv[1:]))
