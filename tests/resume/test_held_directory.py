"""A live run holds its directory whatever else opens its files, and no longer than it lives."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest

from holdfast import Checkpointing, Run, Write

ENTER = """
import sys
import numpy as np
from holdfast import Run
with Run(sys.argv[1], {"w": np.zeros(1)}):
    pass
"""
KILLED_WITH_A_CHILD = """
import os, signal, sys, time
import numpy as np
from holdfast import Checkpointing, Run
with Run(sys.argv[1], {"w": np.zeros(1)}, checkpointing=Checkpointing(save_on="batch_end")) as run:
    for step in run.steps(3):
        if step == 1:
            child = os.fork()
            if not child:
                time.sleep(60)
                os._exit(0)
            print(child, flush=True)
            os.kill(os.getpid(), signal.SIGKILL)
"""


def enters(directory: Path) -> str:
    """The last line that another process says when it enters a run there; "" if it can."""
    done = subprocess.run([sys.executable, "-c", ENTER, directory], capture_output=True, text=True)
    return (
        done.stderr.strip().splitlines()[-1].partition(":")[0].rpartition(".")[2] if done.returncode else ""
    )


def copy_all(directory: Path) -> None:
    shutil.copytree(directory, directory.with_name("copy"))


def read_all(directory: Path) -> None:
    for path in directory.rglob("*"):
        if path.is_file():
            path.read_bytes()


def refuse(directory: Path) -> None:
    with pytest.raises(Exception, match="this process"), Run(directory, {"w": np.zeros(1)}):
        pass


def fork(directory: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of JAX, if another test has loaded it
        child = os.fork()
    if not child:
        os._exit(0)
    os.waitpid(child, 0)


@pytest.mark.parametrize("act", [copy_all, read_all, refuse, fork])
def test_what_opens_its_files_in_the_same_process_does_not_end_the_hold(act, tmp_path):
    directory = tmp_path / "run"
    policy = Checkpointing(save_on="batch_end", write=Write(background=False))
    with Run(directory, {"w": np.zeros(1)}, checkpointing=policy) as run:
        for step in run.steps(2):
            if step == 1:
                act(directory)
                assert enters(directory) == "RunActiveError"
    assert enters(directory) == ""


def test_a_fork_that_outlives_a_killed_run_does_not_hold_its_directory(tmp_path):
    killed = subprocess.Popen([sys.executable, "-c", KILLED_WITH_A_CHILD, tmp_path], stdout=subprocess.PIPE)
    assert killed.stdout is not None
    child = int(killed.stdout.readline())
    try:
        assert killed.wait() == -signal.SIGKILL
        assert enters(tmp_path) == ""
    finally:
        os.kill(child, signal.SIGKILL)
        killed.stdout.close()
