"""What the real disk asks of the system: every byte, every sync, and no success after a failure."""

from __future__ import annotations

import errno
import os
import resource
import stat
from pathlib import Path

import numpy as np
import pytest

from holdfast import bundle
from holdfast.errors import CommitUncertainError, SaveError
from holdfast.state import capture, digest
from holdfast.storage import LocalDisk
from tests.support.reliability.lives import draft

pwrite, pwritev, fsync = os.pwrite, os.pwritev, os.fsync


def save(root: Path, state: object, name: str = "best") -> None:
    bundle.save(LocalDisk(), str(root), draft(name, 1), capture(state), bundle.Sharing())


def holds(root: Path, state: object, name: str = "best") -> bool:
    with bundle.Bundle(LocalDisk(), bundle.bundle_path(str(root), name)) as opened:
        return not [*opened.problems(deep=True)] and digest(opened) == digest(capture(state))


SMALL = {"array": np.arange(500), "step": 1}
LARGE = {"array": np.arange(3_000_000)}  # 24 MB: goes around the page cache


@pytest.mark.parametrize(
    ("state", "most"),
    [(SMALL, 1), (LARGE, 1_000_003), (LARGE, 1 << 20)],
    ids=["byte by byte", "odd", "pages"],
)
def test_a_system_that_takes_fewer_bytes_than_it_is_given_gets_the_rest(tmp_path, monkeypatch, state, most):
    monkeypatch.setattr(os, "pwrite", lambda file, data, at: min(pwrite(file, data, at), most))
    monkeypatch.setattr(os, "pwritev", lambda file, data, at: min(pwritev(file, data, at), most))
    save(tmp_path, state)
    monkeypatch.undo()
    assert holds(tmp_path, state)


@pytest.mark.parametrize("state", [SMALL, LARGE], ids=["small", "large"])
def test_a_system_that_takes_no_bytes_and_gives_no_reason_is_an_error(tmp_path, monkeypatch, state):
    save(tmp_path, {"old": 1})
    monkeypatch.setattr(os, "pwrite", lambda file, data, at: 0)
    monkeypatch.setattr(os, "pwritev", lambda file, data, at: 0)
    with pytest.raises(SaveError, match="accepted no more bytes"):
        save(tmp_path, state)
    monkeypatch.undo()
    assert holds(tmp_path, {"old": 1})


def test_a_file_that_may_not_grow_is_an_error_and_the_old_checkpoint_stays(tmp_path):
    save(tmp_path, {"old": 1})
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, before[1]))  # a short write, then EFBIG
    try:
        with pytest.raises(SaveError, match="EFBIG"):
            save(tmp_path, {"array": np.arange(100_000)})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert holds(tmp_path, {"old": 1})
    save(tmp_path, LARGE)
    assert holds(tmp_path, LARGE)


@pytest.mark.parametrize("state", [SMALL, LARGE], ids=["small", "large"])
def test_every_file_and_directory_of_a_save_is_synced_after_its_last_change(tmp_path, monkeypatch, state):
    synced: dict[int, int] = {}  # inode: its size then

    def note(descriptor: int) -> None:
        about = os.fstat(descriptor)
        synced[about.st_ino] = len(os.listdir(descriptor)) if stat.S_ISDIR(about.st_mode) else about.st_size
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", note)
    folder = tmp_path / "new" / "runs"
    save(folder, state)
    place = folder / "best.ckpt.mml"
    for file in place.iterdir():
        assert synced[file.stat().st_ino] == file.stat().st_size, file.name
    for directory in (place, folder, folder.parent, tmp_path):
        assert synced[directory.stat().st_ino] == len(os.listdir(directory)), directory


def test_a_sync_that_failed_is_never_asked_again_for_a_better_answer(tmp_path, monkeypatch):
    for failing in range(10):
        root = tmp_path / str(failing)
        save(root, {"old": 1})
        asked: list[int] = []

        def refuse(descriptor: int, asked: list[int] = asked, failing: int = failing) -> None:
            inode = os.fstat(descriptor).st_ino
            assert asked.count(inode) == 0 or len(asked) <= failing, "asked again after it had failed"
            asked.append(inode)
            if len(asked) == failing + 1:
                raise OSError(errno.EIO, os.strerror(errno.EIO))

        monkeypatch.setattr(os, "fsync", refuse)
        try:
            save(root, {"new": 2})
        except CommitUncertainError:
            expected = {"new": 2}
        except SaveError:
            expected = {"old": 1}
        else:
            assert len(asked) <= failing
            return
        finally:
            monkeypatch.undo()
        assert holds(root, expected)
    raise AssertionError("it never came to an end")
