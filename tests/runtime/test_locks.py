import os
import subprocess
import sys
from pathlib import Path

import pytest

from processors.runtime.locks import FileLock, LockTaken


def test_a_held_lock_is_refused_with_the_process_id_of_its_holder(tmp_path: Path) -> None:
    lock = FileLock(tmp_path / "lock")
    with pytest.raises(LockTaken) as refusal:
        FileLock(tmp_path / "lock")
    assert refusal.value.pid == os.getpid()
    lock.release()


def test_a_released_lock_can_be_taken(tmp_path: Path) -> None:
    FileLock(tmp_path / "lock").release()
    FileLock(tmp_path / "lock").release()


def test_a_lock_that_was_released_was_not_left(tmp_path: Path) -> None:
    FileLock(tmp_path / "lock").release()
    lock = FileLock(tmp_path / "lock")
    assert not lock.was_left
    lock.release()


def test_a_lock_whose_holder_was_killed_was_left(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    code = f"import os, pathlib; from processors.runtime.locks import FileLock; FileLock(pathlib.Path({str(path)!r}));"
    subprocess.run([sys.executable, "-c", code + "os.kill(os.getpid(), 9)"], check=False)
    lock = FileLock(path)
    assert lock.was_left
    lock.release()


def test_a_lock_is_held_by_a_child_that_shares_it_after_its_holder_let_go(tmp_path: Path) -> None:
    lock = FileLock(tmp_path / "lock")
    with subprocess.Popen(["/bin/cat"], stdin=subprocess.PIPE, pass_fds=[lock.fd]) as child:
        lock.release()
        with pytest.raises(LockTaken):
            FileLock(tmp_path / "lock")
        child.kill()


def test_waiting_for_a_lock_ends_when_it_is_let_go(tmp_path: Path) -> None:
    lock = FileLock(tmp_path / "lock")
    with subprocess.Popen(["/bin/sleep", "0.3"], pass_fds=[lock.fd]):
        lock.release()
        FileLock(tmp_path / "lock", wait_s=5).release()
