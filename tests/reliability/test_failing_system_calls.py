"""The real library in a real process, whose system calls fail underneath it: strace says no, and nothing else is faked.

The tests at the seam try every operation; these show that the seam is where they think it is.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.reliability.numbered import Saver, held

pytestmark = pytest.mark.slow

SCRIPT = """
import sys
from pathlib import Path
from tests.support.reliability.numbered import Saver
from holdfast.errors import CommitUncertainError, SaveError
try:
    Saver(Path(sys.argv[1])).save(int(sys.argv[2]), "rolling")
except CommitUncertainError:
    print("uncertain")
except SaveError as err:
    print("refused", err)
else:
    print("saved")
"""


def strace_lacks() -> str | None:
    if shutil.which("strace") is None:
        return "strace is not installed"
    tried = subprocess.run(["strace", "-f", "-qq", "-o", "/dev/null", "true"], capture_output=True, text=True)
    return f"strace may not trace here: {tried.stderr.strip()}" if tried.returncode else None


@pytest.fixture(scope="module", autouse=True)
def _strace() -> None:
    if why := strace_lacks():
        pytest.skip(f"no failing system calls: {why}")


def save_under(injection: str, directory: Path, number: int) -> subprocess.CompletedProcess[str]:
    calls, _, _ = injection.partition(":")
    strace = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", f"trace={calls}", "-e", f"inject={injection}"]
    script = [
        sys.executable,
        "-W",
        "error",
        "-c",
        SCRIPT,
        str(directory),
        str(number),
    ]
    return subprocess.run([*strace, *script], capture_output=True, text=True, timeout=120)


@pytest.mark.parametrize(
    ("failure", "when"),
    [
        *(("pwrite64,pwritev:error=ENOSPC", when) for when in (1, 2, 3)),  # the pack, the tree, the record
        *(("fsync:error=EIO", when) for when in (1, 2, 3, 4)),
    ],
)
def test_a_failing_call_fails_the_save_and_is_never_tried_again_into_a_success(
    failure: str, when: int, tmp_path: Path
):
    """Only the n-th call fails, so whoever tries again gets what looks like success (ext4 does just that)."""
    Saver(tmp_path).save(1, "rolling")
    ended = save_under(f"{failure}:when={when}", tmp_path, 2)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.startswith("refused"), ended.stdout
    assert failure.rpartition("=")[2] in ended.stdout
    assert held(tmp_path) == {"rolling": 1}
    Saver(tmp_path).save(3, "rolling")
    assert held(tmp_path) == {"rolling": 3}


def test_an_outcome_that_nobody_knows_is_reported_as_that(tmp_path: Path):
    """The sync of the folder after the record was renamed: the fifth."""
    Saver(tmp_path).save(1, "rolling")
    ended = save_under("fsync:error=EIO:when=5", tmp_path, 2)
    assert ended.stdout == "uncertain\n", ended.stderr
    assert held(tmp_path) == {"rolling": 2}


def test_an_interrupted_call_is_made_again(tmp_path: Path):
    ended = save_under("pwrite64,pwritev:error=EINTR:when=2", tmp_path, 2)
    assert ended.stdout == "saved\n", ended.stderr
    assert held(tmp_path) == {"rolling": 2}


@pytest.mark.parametrize(("number", "name"), [(1, "a new name"), (2, "an overwrite")])
def test_a_kill_at_the_rename_leaves_the_old_checkpoint_or_none(number: int, name: str, tmp_path: Path):
    if name == "an overwrite":
        Saver(tmp_path).save(1, "rolling")
    ended = save_under("rename,renameat,renameat2:signal=SIGKILL", tmp_path, number)
    assert ended.returncode != 0
    assert held(tmp_path) == ({"rolling": 1} if name == "an overwrite" else {})


def test_a_folder_that_cannot_link_gets_files_of_its_own(tmp_path: Path):
    """Sharing is an optimisation, never a dependency."""
    Saver(tmp_path).save(1, "other")
    script = SCRIPT.replace("Saver(Path(sys.argv[1]))", "saver").replace(
        "try:", "saver = Saver(Path(sys.argv[1])); saver.learn_all()\ntry:", 1
    )
    ended = subprocess.run(
        [
            *("strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace=link,linkat"),
            *("-e", "inject=link,linkat:error=EPERM"),
            *(sys.executable, "-W", "error", "-c", script, str(tmp_path), "2"),
        ],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert ended.stdout == "saved\n", ended.stderr
    assert held(tmp_path) == {"other": 1, "rolling": 2}
    assert all(file.stat().st_nlink == 1 for file in tmp_path.rglob("*.safetensors"))
