"""What the system refuses to show is neither damaged nor absent: nothing is skipped, renamed, or begun from scratch."""

from __future__ import annotations

import errno
import itertools
import json
import os
import pickle

import numpy as np
import pytest
from typer.testing import CliRunner

import holdfast
from holdfast import Checkpointing, KeepLast, Run, bundle, state
from holdfast.cli import app
from holdfast.errors import CheckpointUnreadableError, HoldfastError, SaveError, TooManyOpenFilesError
from holdfast.runtime import plan
from holdfast.storage import LocalDisk
from holdfast.testing import FaultyDisk

CODES = [
    getattr(errno, name)
    for name in ("EACCES", "EPERM", "EIO", "ESTALE", "ENOMEM", "ENOTCONN", "ETIMEDOUT", "EMFILE", "ENFILE")
]
READS = frozenset({"folders", "open_directory", "open", "read", "status", "names"})


def command(line, place):
    name, *options = line.split()
    return CliRunner().invoke(app, [name, str(place), *options])


def train(directory, *, steps=3):
    weights = np.zeros(9000)
    with Run(directory, {"weights": weights}, checkpointing=Checkpointing(save_on="batch_end")) as run:
        begun_at = run.step
        for _ in run.steps(steps):
            weights += 1
    return begun_at, run


def entries(directory):
    return sorted(os.path.join(place, name) for place, _, files in os.walk(directory) for name in files)


@pytest.mark.medium
@pytest.mark.parametrize(
    ("code", "lasting"), [*((code, False) for code in CODES), (errno.EIO, True), (errno.EMFILE, True)]
)
def test_a_resume_whose_reads_are_refused_fails_by_the_name_of_it_or_resumes_from_the_newest(
    code, lasting, tmp_path, monkeypatch, caplog
):
    train(tmp_path)
    before, told = entries(tmp_path), {}
    for at in itertools.count():
        faulty = FaultyDisk(LocalDisk(), at, code, lasting=lasting, kinds=READS)
        with monkeypatch.context() as patched:
            patched.setattr("holdfast.runtime._directory.LocalDisk", lambda base, disk=faulty: disk)
            try:
                begun_at, run = train(tmp_path)
            except (CheckpointUnreadableError, SaveError) as err:
                told[faulty.failed.kind] = str(err)
            else:
                assert begun_at == 3
                assert run.last_resume is not None
                assert not run.last_resume.skipped
        assert entries(tmp_path) == before
        if faulty.failed is None:
            break
    assert told.keys() >= {"folders", "open_directory", "open", "read"}
    assert all(os.strerror(code) in said for said in told.values()), told
    assert "skipped" not in caplog.text
    assert "damaged" not in caplog.text


@pytest.fixture
def refused(monkeypatch):
    """Let the system refuse to list or open one path: an administrator's test cannot take itself a permission."""

    def refuse(path, code=errno.EACCES):
        for name in ("scandir", "open"):
            real = getattr(os, name)

            def refusing(what=".", *rest, real=real, **named):
                if str(what).rstrip("/") == str(path):
                    raise OSError(code, os.strerror(code), str(what))
                return real(what, *rest, **named)

            monkeypatch.setattr(f"os.{name}", refusing)

    return refuse


@pytest.fixture
def two(tmp_path):
    """Two experiments below one directory."""
    for name in ("mine", "theirs"):
        train(tmp_path / name)
    return tmp_path


@pytest.mark.medium
def test_a_directory_that_may_not_be_listed_is_an_error_of_that_name(two, refused):
    refused(two)
    with pytest.raises(CheckpointUnreadableError, match=r"cannot be listed \(Permission denied \[EACCES\]\)"):
        holdfast.scan(two)
    for line in ("ls", "du", "top --once", "verify", "prune --keep-last 1"):
        ended = command(line, two)
        assert (ended.exit_code, "Permission denied" in ended.stderr) == (5, True), line


@pytest.mark.medium
def test_a_folder_that_may_not_be_listed_is_named_and_the_others_are_shown(two, refused):
    refused(two / "theirs")
    first, *others = holdfast.scan(two)
    assert first.path == str(two / "theirs")
    assert isinstance(first.problem, CheckpointUnreadableError)
    assert len(others) == 3
    assert "unreadable: it cannot be listed (Permission denied [EACCES])" in command("ls", two).stdout
    assert "3 checkpoints, 1 unreadable" in command("ls", two).stdout
    told = [json.loads(line) for line in command("ls --json", two).stdout.splitlines()]
    assert "Permission denied" in told[0]["problem"]
    for line in ("du", "top --once"):
        ended = command(line, two)
        assert ended.exit_code == 0
        assert f"left out {two / 'theirs'}: it cannot be listed" in ended.stderr
    ended = command("verify", two)
    assert (ended.exit_code, "unreadable" in ended.stdout) == (5, True)
    with pytest.raises(CheckpointUnreadableError):
        plan(two, KeepLast(1))


@pytest.mark.medium
def test_a_checkpoint_that_may_not_be_opened_is_listed_as_that_and_no_older_one_is_taken(two, refused):
    directory = two / "mine"
    newest = holdfast.scan(directory)[-1]
    refused(newest.path)
    [listed] = [each for each in holdfast.scan(directory) if each.path == newest.path]
    assert isinstance(listed.problem, CheckpointUnreadableError)
    for door in (holdfast.open, holdfast.load, lambda path: holdfast.archive(path, two / "copy")):
        with pytest.raises(CheckpointUnreadableError, match="Permission denied"):
            door(newest.path)
    assert "1 unreadable" in command("ls", directory).stdout
    assert command("verify", newest.path).exit_code == 5
    before = entries(directory)
    with pytest.raises(CheckpointUnreadableError, match="Permission denied"):
        train(directory)
    assert entries(directory) == before


@pytest.mark.parametrize("below", ["", "second.ckpt.mml"])
def test_a_state_of_accelerate_that_may_not_be_read_is_not_passed_over_for_an_older_one(
    below, tmp_path, refused
):
    pytest.importorskip("accelerate")
    from holdfast.integrations.accelerate import hold
    from tests.support.integrations.cases.accelerate_case import prepared

    accelerator, *_ = prepared()
    hold(accelerator)
    for name in ("first", "second"):
        accelerator.save_state(tmp_path / name)
    refused(tmp_path / below)
    with pytest.raises(CheckpointUnreadableError, match="Permission denied"):
        accelerator.load_state(tmp_path)


@pytest.mark.parametrize("below", ["runs", "runs/second.ckpt.mml"])
def test_a_checkpoint_of_lightning_that_may_not_be_read_is_not_passed_over_for_none_or_an_older_one(
    below, tmp_path, refused
):
    pytest.importorskip("lightning")
    from holdfast.integrations.lightning import HoldfastCheckpointIO

    plugin = HoldfastCheckpointIO()
    assert plugin.newest(tmp_path / "runs") is None
    for name in ("first", "second"):
        plugin.save_checkpoint({"state_dict": {}, "epoch": 3}, tmp_path / "runs" / f"{name}.ckpt")
    plugin.teardown()
    refused(tmp_path / below)
    with pytest.raises(CheckpointUnreadableError, match="Permission denied"):
        plugin.newest(tmp_path / "runs")


def test_a_folder_of_the_system_is_in_nobodys_way(tmp_path, refused):
    train(tmp_path)
    (tmp_path / "lost+found").mkdir()
    refused(tmp_path / "lost+found")
    assert len(holdfast.scan(tmp_path)) == 3
    assert train(tmp_path)[0] == 3


@pytest.mark.parametrize("kind", ["open", "read"])
def test_a_save_neither_replaces_nor_renames_what_it_may_not_read(kind, tmp_path):
    """It was saved by another process, so it is read before it is replaced."""
    train(tmp_path, steps=1)
    (saved,) = holdfast.scan(tmp_path)
    before = entries(tmp_path)
    with bundle.Bundle(LocalDisk(), saved.path) as opened:
        snapshot = state.capture({"weights": opened.record.seq})
    for at in range(4):
        faulty = FaultyDisk(LocalDisk(), at, errno.ESTALE, kinds=frozenset({kind}))
        with pytest.raises(SaveError, match="Stale file handle"):
            bundle.save(faulty, str(tmp_path), saved.record, snapshot, bundle.Sharing())
        if at < 3:
            assert entries(tmp_path) == before
        if faulty.failed is None:
            break


def test_a_medium_that_fails_is_not_in_the_way_of_a_save_and_what_is_on_it_is_kept(tmp_path):
    train(tmp_path, steps=1)
    (saved,) = holdfast.scan(tmp_path)
    faulty = FaultyDisk(LocalDisk(), 2, errno.EIO, kinds=frozenset({"read"}))
    bundle.save(faulty, str(tmp_path), saved.record, state.capture({"a": 1}), bundle.Sharing())
    kept = [name for name in os.listdir(tmp_path) if ".damaged-" in name]
    assert len(kept) == 1
    assert holdfast.open(tmp_path / kept[0]).verify() == []


@pytest.mark.parametrize("kind", [CheckpointUnreadableError, TooManyOpenFilesError])
def test_the_errors_survive_being_sent_to_another_process(kind):
    error = kind("runs/a.ckpt.mml", "it cannot be opened (Permission denied [EACCES])")
    assert isinstance(error, HoldfastError)
    assert str(pickle.loads(pickle.dumps(error))) == str(error)
