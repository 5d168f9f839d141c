"""`holdfast rm` deletes what it is told to, nothing else, and says what that has freed."""

import json
import os
import pty
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from holdfast.checkpoint import open as open_checkpoint
from holdfast.checkpoint import removable, remove
from holdfast.errors import CheckpointReplacedError


def answer(place: Path, reply: bytes | int) -> tuple[int, str]:
    """Run `holdfast rm PLACE` on a terminal, answer its question (or send a signal); exit code and output."""
    controller, terminal = pty.openpty()
    command = [sys.executable, "-m", "holdfast", "rm", str(place)]
    process = subprocess.Popen(command, stdin=terminal, stdout=terminal, stderr=terminal)
    os.close(terminal)
    watchdog = threading.Timer(60, process.kill)
    watchdog.start()
    seen = b""
    while b"[y/N]" not in seen:
        seen += os.read(controller, 4096)
    if isinstance(reply, bytes):
        os.write(controller, reply)
    else:
        process.send_signal(reply)
    try:
        while more := os.read(controller, 4096):
            seen += more
    except OSError:
        pass  # how Linux says that nobody has the terminal open any more
    watchdog.cancel()
    os.close(controller)
    return process.wait(), seen.decode()


def test_checkpoints_are_deleted_and_what_others_share_with_them_stays(experiment, holdfast):
    first, second, third = (experiment.save(f"epoch{epoch}") for epoch in range(3))
    gone = holdfast("rm", first, second, "--yes")
    assert gone.exit_code == 0
    assert sorted(os.listdir(experiment.directory)) == [third.name]
    assert holdfast("verify", third, "--deep").exit_code == 0


def test_the_bytes_that_are_said_to_be_freed_are_those(experiment, holdfast):
    first, second = experiment.save("a"), experiment.save("b")
    own = sum(file.stat().st_size for file in first.iterdir() if file.stat().st_nlink == 1)
    gone = holdfast("rm", first, "--yes").stdout
    assert f"deleted {first}: {own / 1000:#.3g} kB freed, 24" in gone
    assert "kB still in use by others" in gone
    rest = sum(file.stat().st_size for file in second.iterdir())
    gone = holdfast("rm", second, "--yes").stdout
    assert gone == f"deleted {second}: {rest / 1000:.0f} kB freed\n"


def test_damaged_checkpoints_are_deleted_too(experiment, holdfast):
    cut, bare = experiment.save("cut"), experiment.save("bare")
    (cut / "checkpoint.json").write_bytes(b"")
    (bare / "checkpoint.json").unlink()
    aside = experiment.save("c").rename(experiment.directory / f"c.ckpt.mml.damaged-{'0' * 32}")
    (aside / "checkpoint.json").write_bytes(b"")
    assert holdfast("rm", cut, bare, aside, "-y").exit_code == 0
    assert os.listdir(experiment.directory) == []


@pytest.mark.medium
def test_nothing_is_deleted_if_one_of_the_names_is_no_checkpoint(experiment, holdfast, tmp_path):
    place = experiment.save("a")
    (tmp_path / "file.ckpt.mml").touch()
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "checkpoint.json").touch()
    (tmp_path / "link.ckpt.mml").symlink_to(place)
    unfinished = experiment.directory / f".b.{'1' * 32}.part"
    unfinished.mkdir()
    others = (
        experiment.directory,
        *(tmp_path / name for name in ("file.ckpt.mml", "data", "link.ckpt.mml", "no")),
    )
    for other in (*others, unfinished, "/", "."):
        shown = holdfast("rm", place, other, "--yes")
        assert shown.exit_code == 2, other
        assert not shown.stdout
    assert holdfast("verify", place).exit_code == 0
    assert (tmp_path / "data" / "checkpoint.json").exists()


def test_without_a_terminal_nothing_is_deleted_unless_yes_is_said(experiment, holdfast):
    place = experiment.save("a")
    shown = holdfast("rm", place, input="y\n")
    assert shown.exit_code == 2
    assert "--yes" in shown.stderr
    assert place.exists()


@pytest.mark.medium
@pytest.mark.parametrize(
    ("reply", "deleted"), [(b"y\n", True), (b"YES\n", True), (b"\n", False), (b"n\n", False)]
)
def test_on_a_terminal_it_asks_first(experiment, reply, deleted):
    place = experiment.save("a")
    code, output = answer(place, reply)
    assert code == 0
    assert "Delete 1 checkpoint, which frees 24" in output
    assert place.exists() is not deleted
    assert ("Nothing was deleted" in output) is not deleted


@pytest.mark.medium
def test_ctrl_c_at_the_question_deletes_nothing_and_exits_with_130(experiment):
    place = experiment.save("a")
    code, output = answer(place, signal.SIGINT)
    assert code == 130
    assert "Traceback" not in output
    assert place.exists()


def test_a_name_that_was_given_twice_is_deleted_once(experiment, holdfast):
    place = experiment.save("a")
    assert holdfast("rm", place, f"{place}/", "--yes").stdout.count("deleted") == 1


def test_the_suffix_may_be_left_out(experiment, holdfast):
    first, second = experiment.save("a"), experiment.save("b")
    short = str(first).removesuffix(".ckpt.mml")
    assert f"deleted {first}:" in holdfast("rm", short, f"{short}/", first, "--yes").stdout
    assert not first.exists()
    assert second.exists()


def test_a_relative_name_is_enough(experiment, holdfast, monkeypatch):
    place = experiment.save("a")
    monkeypatch.chdir(experiment.directory)
    assert holdfast("rm", place.name, "--yes").exit_code == 0
    assert not place.exists()


def test_a_checkpoint_saved_since_it_was_looked_at_is_not_deleted(experiment):
    place = experiment.save("a")
    listed = removable(place)
    experiment.save("a", {"new": np.ones(3)})
    with pytest.raises(CheckpointReplacedError):
        remove(listed)
    assert open_checkpoint(place).tree().keys() == {"new"}


def test_files_of_strangers_are_never_deleted(experiment, holdfast):
    place = experiment.save("a")
    (place / "notes.txt").write_text("mine")
    holdfast("rm", place, "--yes")
    assert not place.exists()
    assert [path.read_text() for path in experiment.directory.rglob("notes.txt")] == ["mine"]


def test_json_says_what_each_deletion_has_freed(experiment, holdfast):
    first, second = experiment.save("a"), experiment.save("b")
    shown = holdfast("rm", first, second, "--yes", "--json")
    one, other = map(json.loads, shown.stdout.splitlines())
    assert one["path"] == str(first)
    assert one["kept_bytes"] > 240_000
    assert (other["path"], other["kept_bytes"]) == (str(second), 0)
    assert other["freed_bytes"] > 240_000
