"""What benchmarks need beside this project's own packages: made on first use, in `build/`, and anew when it changes."""

import shutil
import subprocess
import sys
import venv
from collections.abc import Callable
from pathlib import Path
from typing import Final

__all__ = ["PEERS", "ROOT", "compiled", "node_modules", "python_of"]

ROOT: Final = Path(__file__).parent.parent.parent
PEERS: Final = Path(__file__).with_name("peers")
"""Programs of others, and what takes what they send."""


def python_of(name: str, requirements: Path) -> Path:
    """The interpreter of an environment that has these requirements."""
    return _made(name, requirements, _install) / "bin" / "python"


def node_modules(name: str, package: Path) -> Path | None:
    """Where Node finds what a `package.json` names; None without Node and npm."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        return None
    return _made(name, package, _install_for_node) / "node_modules"


def compiled(name: str, source: Path) -> Path | None:
    """The program of a C source; None without a compiler."""
    return _made(name, source, _compile) / "program" if shutil.which("cc") else None


def _made(name: str, source: Path, make: Callable[[Path, Path], None]) -> Path:
    """The directory that `make` fills from a source, which is made when there is none of this source."""
    directory, wanted = ROOT / "build" / name, source.read_text(encoding="utf-8")
    stamp = directory / "made-from.txt"
    if not stamp.exists() or stamp.read_text(encoding="utf-8") != wanted:
        shutil.rmtree(directory, ignore_errors=True)
        directory.mkdir(parents=True)
        make(directory, source)
        stamp.write_text(wanted, encoding="utf-8")
    return directory


def _install(directory: Path, requirements: Path) -> None:
    venv.create(directory, with_pip=True)
    pip = [str(directory / "bin" / "python"), "-I", "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "--requirement", str(requirements)], check=True, stdout=sys.stderr)


def _install_for_node(directory: Path, package: Path) -> None:
    shutil.copy(package, directory / "package.json")
    npm = ["npm", "install", "--ignore-scripts", "--no-audit", "--no-fund", "--no-package-lock"]
    subprocess.run(npm, cwd=directory, check=True, stdout=sys.stderr)


def _compile(directory: Path, source: Path) -> None:
    subprocess.run(["cc", "-O2", "-o", str(directory / "program"), str(source)], check=True)
