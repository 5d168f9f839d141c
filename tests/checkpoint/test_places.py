"""What names a checkpoint: `holdfast ls` prints it, and every function and command takes it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

import holdfast
from holdfast.checkpoint import locate, removable
from holdfast.cli._app import app
from holdfast.errors import CheckpointNotFoundError, HoldfastError, UsageError
from tests.support import small_runs

NAMES = ("train", "train/train_epoch0", "train/train_epoch1")
"""Of an experiment: the end of a phase has the name of the folder of its epochs."""


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An experiment below a directory, seen from above."""
    monkeypatch.chdir(tmp_path)
    place = Path("runs/digits")
    phase = small_runs.train(n_epochs=2, checkpointing=small_runs.on_disk("epoch_end", max_to_keep=None))
    complete = small_runs.on_disk("phase_end", max_to_keep=None)
    small_runs.experiment(place, phase, checkpointing=complete).run(progress=False)
    return place


def command(*arguments: object) -> str:
    done = CliRunner().invoke(app, [str(each) for each in arguments])
    assert done.exit_code == 0, done.output
    return done.stdout


def mine(directory: Path, resume: Any = False) -> str:
    """A loop of one's own: two epochs, or what it resumes from."""
    policy = holdfast.Checkpointing(mode="disk", save_on="epoch_end", max_to_keep=None)
    with holdfast.Run(directory, {"w": np.zeros(3)}, checkpointing=policy, resume=resume) as run:
        for _ in run.epochs(2):
            for _ in run.batches([1, 2]):
                pass
    return "" if run.last_resume is None else run.last_resume.path


@pytest.mark.medium
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("suffix", ["", ".ckpt.mml", ".ckpt.mml/", "/"])
@pytest.mark.parametrize("absolute", [False, True])
def test_every_door_takes_what_ls_prints(runs, name, suffix, absolute):
    assert name in {line.split()[0] for line in command("ls", runs).splitlines() if line}
    text = f"{runs.absolute() if absolute else runs}/{name}{suffix}"
    path = f"{runs.absolute() if absolute else runs}/{name}.ckpt.mml"
    for place in (text, Path(text)):
        with holdfast.open(place) as opened:
            assert opened.path == path
            assert holdfast.diff(opened, place).same_state
            assert holdfast.archive(opened, "copies/opened", overwrite=True).record.parent == opened.record.id
            assert locate(opened).path == path
        assert holdfast.archive(place, "copies/one", overwrite=True).record.name == "one"
        assert holdfast.export(place, "one.npz", overwrite=True).arrays
        assert holdfast.average([place, place], "copies/mean", overwrite=True).rest_from == path
        assert removable(place).path == path
    assert holdfast.fork(text, "forked").path == f"forked/{name.rpartition('/')[2]}.ckpt.mml"
    command("show", text)
    assert path.rpartition("/")[2].removesuffix(".ckpt.mml") in command("verify", text)
    command("diff", text, text)
    command("archive", text, "copies/two")
    command("export", text, "two.npz")
    command("average", text, text, "-o", "copies/three")
    command("fork", text, "forked again")
    command("pin", text)
    command("unpin", text)
    command("bisect", runs, "--nan")
    command("rm", "--yes", text)
    assert not os.path.exists(path)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("suffix", ["", ".ckpt.mml", "/"])
def test_an_experiment_takes_what_ls_prints_of_its_directory(runs, name, suffix):
    path = f"{runs}/{name}.ckpt.mml"
    made = small_runs.experiment(runs, small_runs.train(n_epochs=2))
    for place in (name + suffix, f"{runs}/{name}{suffix}", f"{runs.absolute()}/{name}{suffix}"):
        with made.restore_checkpoint(place) as opened:
            assert os.path.samefile(opened.path, path)
        made.run(resume=place, progress=False)
        assert made.last_resume is not None
        assert os.path.samefile(made.last_resume.path, path)


def test_a_run_takes_every_form_of_a_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    directory, path = Path("runs/one"), "runs/one/train_epoch1.ckpt.mml"
    mine(directory)
    with holdfast.open(path) as opened:
        for resume in (
            *("train_epoch1", "train_epoch1.ckpt.mml", "train_epoch1/", path, "runs/one/train_epoch1"),
            *(tmp_path / "runs/one/train_epoch1", holdfast.scan(directory)[-1], opened),
        ):
            assert os.path.samefile(mine(Path(f"runs/{id(resume)}"), resume=opened), path)
            with holdfast.Run(
                directory,
                {"w": np.zeros(3)},
                checkpointing=holdfast.Checkpointing(mode="disk"),
                resume=resume,
            ) as run:
                assert os.path.samefile(run.last_resume.path, path)


def test_verify_means_the_folder_of_a_phase_and_the_checkpoint_of_its_name(runs):
    assert len(command("verify", runs / "train", "--json").splitlines()) == 3
    assert len(command("verify", runs / "train.ckpt.mml", "--json").splitlines()) == 1
    assert len(command("ls", runs / "train", "--json").splitlines()) == 2


def test_of_a_directory_it_is_said_what_there_is(runs):
    newest = holdfast.scan(runs)[-1].path
    for ask in (holdfast.open, removable, lambda place: holdfast.archive(place, "copy")):
        with pytest.raises(CheckpointNotFoundError) as said:
            ask(runs)
        assert f"{runs}: this is a directory with 3 checkpoints; the newest is {newest}" in str(said.value)
    Path("empty").mkdir()
    with pytest.raises(CheckpointNotFoundError, match="a directory without checkpoints"):
        holdfast.open("empty")
    with pytest.raises(
        CheckpointNotFoundError, match=r"no checkpoint 'train_epoch9' here; it has 3, the newest is"
    ):
        locate("train_epoch9", directory=str(runs))


def test_several_of_a_name_are_an_error_that_names_them(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for place in ("runs/a", "runs/b"):
        mine(Path(place))
    with pytest.raises(UsageError) as said:
        locate("train_epoch1", directory="runs")
    for place in ("runs/a/train_epoch1.ckpt.mml", "runs/b/train_epoch1.ckpt.mml"):
        assert place in str(said.value)
    assert locate("a/train_epoch1", directory="runs").path == "runs/a/train_epoch1.ckpt.mml"
    holdfast.archive("runs/a/train_epoch1", "train_epoch1")
    with pytest.raises(UsageError, match="several checkpoints"):
        mine(Path("runs/a"), resume="train_epoch1")
    full = tmp_path / "train_epoch1"
    assert os.path.samefile(mine(Path("runs/a"), resume=full), "train_epoch1.ckpt.mml")


@pytest.mark.parametrize("nonsense", [None, 0, 1, 2.5, "", b"bytes", ["a"], "a\0b", object()])
def test_what_is_no_name_is_refused_alike_everywhere(tmp_path, nonsense):
    with pytest.raises(UsageError, match="resume must be True, False, the name or path of a checkpoint"):
        mine(tmp_path / "run", resume=nonsense)
    made = small_runs.experiment(tmp_path / "run", small_runs.train())
    with pytest.raises(UsageError, match="resume must be True, False, the name or path of a checkpoint"):
        made.run(resume=nonsense, progress=False)
    for ask in (
        *(holdfast.open, removable, made.restore_checkpoint, lambda place: holdfast.diff(place, place)),
        *(lambda place: holdfast.archive(place, "copy"), lambda place: holdfast.fork(place, "fork")),
        *(lambda place: holdfast.export(place, "x.npz"), lambda place: holdfast.average([place] * 2, "mean")),
    ):
        with pytest.raises(UsageError, match="pass a checkpoint's path or name"):
            ask(nonsense)
    with pytest.raises(UsageError, match="directory must be a path"):
        holdfast.scan(nonsense)
    assert not (tmp_path / "run").exists()


def test_scanning_where_there_is_no_directory_is_an_error(tmp_path):
    (tmp_path / "file").touch()
    (tmp_path / "empty").mkdir()
    keep = holdfast.KeepLast(1)
    for ask in (
        holdfast.scan,
        lambda place: holdfast.plan(place, keep),
        lambda place: holdfast.prune(place, keep),
    ):
        with pytest.raises(CheckpointNotFoundError, match=r"there is no such directory. `holdfast ls"):
            ask(tmp_path / "missing")
        with pytest.raises(HoldfastError, match="cannot be listed"):
            ask(tmp_path / "file")
        assert ask(tmp_path / "empty") == []
    assert mine(tmp_path / "new", resume=True) == ""  # where a first run begins there is nothing yet
    assert len(holdfast.scan(tmp_path / "new")) == 2
