"""A live run holds its directory whatever else opens its files, and no longer than it lives."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tarfile
import warnings
from pathlib import Path

import numpy as np
import pytest

from holdfast import Checkpointing, Run, Write
from holdfast.errors import RunActiveError, SaveError

ENTER = """
import sys
import numpy as np
from holdfast import Run
with Run(sys.argv[1], {"w": np.zeros(1)}):
    pass
"""
KILLED_AS_IT_STARTS_ANOTHER = """
import ctypes, os, signal, sys, time
import numpy as np
from holdfast import Run
with Run(sys.argv[1], {"w": np.zeros(1)}):
    if not ctypes.CDLL(None).fork():  # as between the fork and the exec of a program
        time.sleep(1)
        os._exit(0)
    os.kill(os.getpid(), signal.SIGKILL)
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


def pack_all(directory: Path) -> None:
    with tarfile.open(directory.with_suffix(".tar"), "w") as archive:
        archive.add(directory)


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


@pytest.mark.medium
@pytest.mark.parametrize("act", [copy_all, read_all, pack_all, refuse, fork])
def test_what_opens_its_files_in_the_same_process_does_not_end_the_hold(act, tmp_path):
    directory = tmp_path / "run"
    policy = Checkpointing(save_on="batch_end", write=Write(background=False))
    with Run(directory, {"w": np.zeros(1)}, checkpointing=policy) as run:
        for step in run.steps(2):
            if step == 1:
                act(directory)
                assert enters(directory) == "RunActiveError"
    assert enters(directory) == ""


@pytest.mark.medium
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


def link_all(directory: Path, copy: Path) -> None:
    shutil.copytree(directory, copy, copy_function=os.link)


@pytest.mark.medium
def test_a_copy_by_links_is_another_directory(tmp_path):
    """As `cp -al` makes it: the file of the lock is the same one, and neither run is in the way of the other."""
    directory, copy = tmp_path / "run", tmp_path / "copy"
    policy = Checkpointing(save_on="batch_end")
    with Run(directory, {"w": np.zeros(1)}, checkpointing=policy) as run:
        for step in run.steps(3):
            if step == 1:
                link_all(directory, copy)
                note = (directory / ".run.lock").read_bytes()
                assert enters(copy) == ""
                with Run(copy, {"w": np.zeros(1)}):  # in this process, too
                    assert enters(copy) == "RunActiveError"
                assert (directory / ".run.lock").read_bytes() == note
                assert enters(directory) == "RunActiveError"
    assert enters(directory) == ""


def test_a_file_that_was_linked_to_the_lock_is_not_written_to(tmp_path):
    precious = tmp_path / "precious"
    precious.write_text("by hand")
    (tmp_path / "run").mkdir()
    os.link(precious, tmp_path / "run" / ".run.lock")
    with Run(tmp_path / "run", {"w": np.zeros(1)}):
        assert enters(tmp_path / "run") == "RunActiveError"
    assert precious.read_text() == "by hand"


ELSEWHERE = (
    "import sys; import holdfast.storage._locks as locks; locks._OF_FILE = locks._OF_FILE_WAIT = None\n"
)


def test_where_only_bsd_has_locks_of_the_open_file_they_are_taken(tmp_path, monkeypatch):
    monkeypatch.setattr("holdfast.storage._locks._OF_FILE", None)
    with Run(tmp_path / "run", {"w": np.zeros(1)}):
        copy_all(tmp_path / "run")
        entering = [sys.executable, "-c", ELSEWHERE + ENTER, tmp_path / "run"]
        done = subprocess.run(entering, capture_output=True, text=True)
        assert "RunActiveError" in done.stderr


def test_a_machine_may_have_any_name(tmp_path, monkeypatch):
    monkeypatch.setattr("socket.gethostname", lambda: os.fsdecode(b"caf\xe9"))
    with Run(tmp_path, {"w": np.zeros(1)}), pytest.raises(RunActiveError) as refused:
        Run(tmp_path, {"w": np.zeros(1)}).__enter__()
    assert refused.value.is_own


@pytest.mark.medium
@pytest.mark.skipif(sys.platform == "win32", reason="a fork")
def test_a_process_that_was_killed_as_it_started_another_holds_nothing(tmp_path):
    command = [sys.executable, "-c", KILLED_AS_IT_STARTS_ANOTHER, str(tmp_path / "a")]
    assert subprocess.run(command, check=False, stdout=subprocess.DEVNULL).returncode == -signal.SIGKILL
    with Run(tmp_path / "a", {"w": np.zeros(1)}):
        pass


def _train(place, happens) -> None:
    state = {"w": np.zeros(1)}
    policy = Checkpointing(save_on="batch_end", keep=None, write=Write(background=False))
    with Run(place, state, checkpointing=policy) as run:
        for step in run.steps(4):
            state["w"] += 1
            if step == 2:
                happens()


@pytest.mark.parametrize("moved", ["runs", "runs/a"])
def test_a_directory_that_is_moved_while_it_is_used_gets_no_second_half(moved, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SaveError, match="was moved away while the run uses it"):
        _train("runs/a", lambda: os.rename(moved, "elsewhere"))
    assert not Path("runs/a").exists()
    with Run("elsewhere" if moved == "runs/a" else "elsewhere/a", {"w": np.zeros(1)}) as run:
        assert run.step == 2


def test_a_directory_that_is_removed_while_it_is_used_is_made_again(tmp_path):
    _train(tmp_path / "a", lambda: shutil.rmtree(tmp_path / "a"))
    with Run(tmp_path / "a", {"w": np.zeros(1)}) as run:
        assert run.step == 4
