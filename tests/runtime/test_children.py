import os
import signal
import sys
from pathlib import Path

import pytest

from processors.runtime.children import Child, Program, spawn


async def _python(code: str, **more: object) -> Child:
    program = Program(name="x", argv=(sys.executable, "-c", code), environment=dict(os.environ), **more)  # type: ignore[arg-type]
    return await spawn(program)


async def test_an_exit_code_is_told() -> None:
    child = await _python("raise SystemExit(7)")
    await child.exit
    assert child.how_it_ended() == "exit code 7"


async def test_a_signal_is_told_by_name() -> None:
    child = await _python("import time; time.sleep(60)")
    child.signal(signal.SIGKILL)
    await child.exit
    assert child.how_it_ended() == "SIGKILL"


async def test_a_signal_to_a_child_that_ended_is_not_sent() -> None:
    child = await _python("")
    await child.exit
    child.signal(signal.SIGKILL)


async def test_standard_input_is_given_to_its_end(tmp_path: Path) -> None:
    out = tmp_path / "out"
    code = f"import sys, pathlib; pathlib.Path({str(out)!r}).write_text(sys.stdin.read())"
    child = await _python(code, standard_input=b"secret")
    await child.exit
    assert out.read_text() == "secret"


async def test_a_child_without_input_reads_an_empty_one() -> None:
    child = await _python("import sys; sys.exit(len(sys.stdin.read()))")
    assert await child.exit == 0


async def test_a_child_gets_no_signal_of_our_terminal() -> None:
    child = await _python("import time; time.sleep(60)")
    assert os.getsid(child.pid) == child.pid
    child.signal(signal.SIGKILL)
    await child.exit


async def test_a_program_that_does_not_exist_raises() -> None:
    with pytest.raises(FileNotFoundError):
        await spawn(Program(name="x", argv=("no-such-program",), environment={"PATH": "/bin"}))


def test_the_input_is_not_shown_where_the_program_is() -> None:
    assert "secret" not in repr(Program(name="x", argv=("y",), environment={}, standard_input=b"secret"))
