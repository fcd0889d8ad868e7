"""Two runs on one output refuse each other."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from sluiceway.batch.errors import BatchLocked
from sluiceway.batch.lock import Lock


def test_a_second_run_is_refused_with_the_first_ones_process(tmp_path):
    """And gets it when the first has left."""
    path = tmp_path / "out.lock"
    with Lock(path), pytest.raises(BatchLocked, match=f"by process {os.getpid()} on "), Lock(path):
        pass
    with Lock(path):
        pass
    assert not path.exists()


def test_an_old_lock_file_holds_nobody(tmp_path):
    """It is the lock that counts and not the file: a machine that lost power leaves one."""
    path = tmp_path / "out.lock"
    path.write_text('{"pid": 1, "host": "gone"}')
    with Lock(path):
        pass


@pytest.mark.real
def test_a_killed_run_holds_nobody(tmp_path):
    """The operating system frees what a dead process held."""
    path = tmp_path / "out.lock"
    script = (
        "import os, signal, sys; from pathlib import Path; from sluiceway.batch.lock import Lock\n"
        "Lock(Path(sys.argv[1])).__enter__(); os.kill(os.getpid(), signal.SIGKILL)"
    )
    done = subprocess.run([sys.executable, "-c", script, str(path)], check=False)
    assert -9 == done.returncode
    with Lock(path):
        pass


@pytest.mark.real
def test_a_killed_run_holds_nobody_though_a_process_of_its_pool_lives_on(tmp_path):
    """It had inherited the lock: nothing went on, behind a process that was no more, until the pool's were too."""
    path = tmp_path / "out.lock"
    script = (
        "import os, signal, sys; from pathlib import Path; from sluiceway.batch.lock import Lock\n"
        "lock = Lock(Path(sys.argv[1])); lock.__enter__()\n"
        "if os.fork() == 0:\n"
        "    lock.__exit__(None, None, None)\n"
        "    print(os.path.exists(sys.argv[1]), flush=True); sys.stdin.read(); os._exit(0)\n"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    run = subprocess.Popen([sys.executable, "-c", script, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert b"True\n" == run.stdout.readline()  # the child lives, and took nothing along
        assert -9 == run.wait()
        with Lock(path):
            pass
    finally:
        run.stdin.close()
        run.stdout.close()
