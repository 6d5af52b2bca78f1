"""`make sbom`: writes sbom.json, a CycloneDX bill of materials of what `ark-pulse` needs to run.

The tool tells of all that is installed, tests included; what is needed to run is left of it, and is held to the schema.
"""

import json
import subprocess
import sys
from collections.abc import Mapping
from typing import Any, Final

from packaging.utils import canonicalize_name

from tests.benchmarks.environments import python_of
from tests.supply.audit import TOOLS
from tests.supply.installed import PROJECT, ROOT, closure, needed

__all__ = ["main", "of_running"]

TARGET: Final = ROOT / "sbom.json"

_VALIDATE: Final = """
import sys
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
sys.exit(str(JsonStrictValidator(SchemaVersion.V1_6).validate_str(sys.stdin.read()) or "") or None)
"""


def of_running(bill: Mapping[str, Any], direct: set[str], versions: Mapping[str, str | None]) -> dict[str, Any]:
    """A bill of `versions` (normal name to version) only, of which the project itself needs those of `direct`.

    Raises AssertionError: if the bill lacks one of them, or has another version.
    """
    components = [each for each in bill["components"] if canonicalize_name(each["name"]) in versions]
    assert {canonicalize_name(each["name"]): each["version"] for each in components} == versions
    refs = {each["bom-ref"]: canonicalize_name(each["name"]) for each in components}
    root = bill["metadata"]["component"]["bom-ref"]
    dependencies = []
    for each in bill["dependencies"]:
        if each["ref"] in refs or each["ref"] == root:
            kept = direct if each["ref"] == root else versions
            on = [ref for ref in each.get("dependsOn", ()) if refs.get(ref) in kept]
            dependencies.append({"ref": each["ref"]} | ({"dependsOn": on} if on else {}))
    return {**bill, "components": components, "dependencies": dependencies}


def main() -> None:
    """Write it, or fail with what is wrong with it."""
    python = str(python_of("supply", TOOLS))
    options = ["--pyproject", str(ROOT / "pyproject.toml"), "--output-reproducible", "--spec-version", "1.6"]
    command = [python, "-m", "cyclonedx_py", "environment", *options, "--no-validate", sys.executable]
    whole = subprocess.run(command, capture_output=True, check=True).stdout
    direct = {str(canonicalize_name(each.name)) for each in needed()}
    bill = of_running(json.loads(whole), direct, closure(needed()))
    text = json.dumps(bill, indent=1, sort_keys=True) + "\n"
    assert "file:" not in text, "a path of this machine is in it"
    subprocess.run([python, "-c", _VALIDATE], input=text.encode(), check=True)
    TARGET.write_text(text, encoding="utf-8")
    print(f"wrote {TARGET.name}: {len(bill['components'])} packages for {PROJECT['project']['name']}")


if __name__ == "__main__":
    main()
