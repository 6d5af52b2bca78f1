"""A reader at his shell: a folder with the checkout, and the commands of a document, one after the other."""

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from tests.docs.blocks import ROOT

__all__ = ["Reader"]

_PRELUDE: Final = Path(__file__).with_name("prelude.sh")
_TRACED: Final = re.compile(r"^@(\d+) (.*)\n", re.MULTILINE)

# Where a document means the usual Redis it asks the test's. Without Debian's program there is one for what is needed.
_REDIS_CLI: Final = """#!/bin/sh
[ "$1" = -u ] || set -- -u "$REDIS_URL" "$@"
exec {program} "$@"
"""
_STAND_IN: Final = """\
#!{python}
import sys, redis
_, _, url, *words = sys.argv
def show(answer):
    for each in answer if isinstance(answer, (list, tuple)) else [answer]:
        show(each) if isinstance(each, (list, tuple)) else print(each, flush=True)
client = redis.Redis.from_url(url, decode_responses=True, protocol=2, socket_timeout=None)
try:
    show(client.execute_command(*words))
except redis.RedisError as error:
    sys.exit(f"(error) {{error}}")
"""


class Reader:
    """A folder with the checkout in it, whose commands use ports of ours.

    Everything there is the checkout's own, by links, but for what commands make: `.ark`, `data`, files of their own.
    Its environment counts as installed, so `make` installs nothing.
    """

    def __init__(self, folder: Path, redis_url: str, ports: Mapping[str, int]) -> None:
        self.folder = folder
        self.ports = ports
        tools = folder.with_name(f"{folder.name}-tools")
        for directory in (folder / ".venv", tools):
            directory.mkdir(parents=True, exist_ok=True)
        for path in ROOT.iterdir():
            if not path.name.startswith(".") and path.name not in {"data", "build", "sbom.json"}:
                (folder / path.name).symlink_to(path)
        for name in ("bin", "lib", "pyvenv.cfg"):
            (folder / ".venv" / name).symlink_to(Path(sys.prefix) / name)
        for name in (".installed", ".installed-dev"):
            (folder / ".venv" / name).touch()
        stand_in = _program(tools / "stand-in", _STAND_IN.format(python=sys.executable))
        _program(tools / "redis-cli", _REDIS_CLI.format(program=shutil.which("redis-cli") or stand_in))
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(("ARK_", "FEDERATION_"))}
        self.environment = inherited | {
            "PATH": os.pathsep.join([str(tools), str(folder / ".venv" / "bin"), os.environ["PATH"]]),
            "TMPDIR": str(tools),
            "REDIS_URL": redis_url,
            "ARK_HTTP_PORT": str(ports["8101"]),
            "FEDERATION_PORT": str(ports["9001"]),
        }

    def run(self, name: str, script: str, within_s: float) -> None:
        """Run a script of `shell_script`, of the document `name`.

        Raises AssertionError: if a command fails, or is not done in time, with its line and what it said.
        """
        for usual, own in self.ports.items():
            script = re.sub(rf"(127\.0\.0\.1|localhost):{usual}\b", f"127.0.0.1:{own}", script)
        path = self.folder.with_name(f"{name}.sh")
        # In the line of the document's title, so that the others keep their numbers.
        path.write_text(f". {_PRELUDE}{script}", encoding="utf-8")
        with path.with_suffix(".output").open("w+b") as output:
            shell = subprocess.Popen(
                ["bash", path], cwd=self.folder, env=self.environment, stdin=subprocess.DEVNULL,
                stdout=output, stderr=output, start_new_session=True,
            )  # fmt: skip
            try:
                problem = f"exit code {code}" if (code := shell.wait(within_s)) else ""
            except subprocess.TimeoutExpired:
                problem = f"not done within {within_s} s"
            finally:
                _kill_all_of(shell.pid)
                shell.wait()
            output.seek(0)
            said = output.read().decode(errors="replace")
        if problem:
            raise AssertionError(f"{name}: {problem}\n{_last_of(said)}")


def _program(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    path.chmod(0o755)
    return path


def _last_of(said: str) -> str:
    """The last command of a session and what was said since, but not all of it."""
    *_, last = _TRACED.finditer(said)
    lines = said[last.end() :].splitlines()
    return "\n".join([f"line {last[1]}: {last[2]}", *lines[-40:]])


def _kill_all_of(session: int) -> None:
    """End what is left of a session: nothing, if all went well."""
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError, ValueError):
            if int((entry / "stat").read_text().rpartition(")")[2].split()[3]) == session:
                os.kill(int(entry.name), signal.SIGKILL)
