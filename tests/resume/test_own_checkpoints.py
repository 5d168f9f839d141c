"""A run resumes from its own checkpoints: not from copies of another's, and also through links."""

from __future__ import annotations

import os
import shutil

import numpy as np
import pytest
import torch

import holdfast
from holdfast import Checkpointing, Experiment, Loss, ModelGraph, ModelNode, PhaseGroup, Run, TrainPhase


def add(directory, amount, *, crash_at=None, resume=True):
    weight = np.zeros(1)
    policy = Checkpointing(save_on="batch_end", max_to_keep=2)
    with Run(directory, {"weight": weight}, checkpointing=policy, resume=resume) as run:
        for step in run.steps(10):
            weight += amount
            if step == crash_at:
                raise RuntimeError("a cable was pulled")
    return run, weight[0]


@pytest.fixture
def mine(tmp_path):
    add(tmp_path / "other", 100)
    with pytest.raises(RuntimeError, match="a cable"):
        add(tmp_path / "mine", 1, crash_at=3)
    return tmp_path / "mine"


def copy(newest, to):
    shutil.copytree(newest, to / "pretrained.ckpt.mml")


def copy_with_its_name(newest, to):
    shutil.copytree(newest, to / os.path.basename(newest))


def archive(newest, to):
    holdfast.archive(newest, f"{to}/")


def copy_into_a_folder(newest, to):
    (to / "compare").mkdir()
    copy(newest, to / "compare")


@pytest.mark.parametrize("bring", [copy, archive, copy_into_a_folder])
def test_what_another_run_saved_and_was_copied_here_is_left_alone(bring, mine):
    bring(holdfast.scan(mine.parent / "other")[-1].path, mine)
    run, weight = add(mine, 1)
    assert run.last_resume is not None
    assert (weight, run.last_resume.verdict) == (10.0, "exact")
    _, weight = add(mine, 1, resume=holdfast.scan(mine.parent / "other")[-1].path)
    assert weight == 1000.0, "where it is named, it is taken"


def test_a_copy_that_is_alone_is_resumed_from_and_named(tmp_path):
    with pytest.raises(RuntimeError, match="a cable"):
        add(tmp_path / "other", 100, crash_at=8)
    copy_with_its_name(holdfast.scan(tmp_path / "other")[-1].path, tmp_path)
    saved_by = holdfast.scan(tmp_path)[0].record.run
    run, weight = add(tmp_path, 1)
    assert weight == 802.0, "it is not begun from scratch over a checkpoint"
    assert run.last_resume.verdict.startswith(
        f"not exact: run {saved_by} saved the checkpoint in another directory, and no run has saved in this one"
    )
    again, _ = add(tmp_path, 1)
    assert again.last_resume.verdict == "exact", "by now it is the directory's own"


def test_a_copy_that_is_requested_by_name_is_exact(tmp_path):
    with pytest.raises(RuntimeError, match="a cable"):
        add(tmp_path / "other", 100, crash_at=8)
    copy_with_its_name(holdfast.scan(tmp_path / "other")[-1].path, tmp_path)
    run, _ = add(tmp_path, 100, resume=holdfast.scan(tmp_path)[0].path)
    assert run.last_resume.verdict == "exact"


@pytest.mark.medium
def test_a_fork_and_a_second_run_of_the_directory_are_its_own(mine):
    with pytest.raises(RuntimeError, match="a cable"):
        add(mine, 5, crash_at=5, resume=False)
    run, weight = add(mine, 1)
    assert weight == 5 * 5 + 5
    forked = holdfast.fork(holdfast.scan(mine)[0].path, mine.parent / "fork")
    run, _ = add(mine.parent / "fork", 1)
    assert run.last_resume is not None
    assert run.last_resume.path == forked.path


@pytest.mark.parametrize("linked", ["run", "run/fit", "run/again"])
def test_an_experiment_resumes_through_a_folder_that_is_a_link(linked, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    x = torch.linspace(0, 1, 64).reshape(64, 1).numpy()

    def phase(label, epochs):
        loss = Loss("mse", torch.nn.functional.mse_loss, output="line", target="y")
        policy = Checkpointing(save_on="epoch_end")
        data = {"x": x, "y": 2 * x}
        return TrainPhase(
            label, data=data, losses=[loss], n_epochs=epochs, batch_size=16, checkpointing=policy
        )

    def experiment(epochs):
        torch.manual_seed(0)
        nodes = [ModelNode("line", torch.nn.Linear(1, 1), inputs="x")]
        graph = ModelGraph(nodes, optimizer=lambda parameters: torch.optim.SGD(parameters, lr=0.1))
        made = Experiment("lines", graph, directory="run")
        made.add(phase("fit", 2), PhaseGroup("twice", [phase("again", epochs)]))
        return made

    experiment(2).run(progress=False)
    before = {each.record.id for each in holdfast.scan("run")}
    os.rename(linked, "elsewhere")
    os.symlink(tmp_path / "elsewhere", linked)
    longer = experiment(4)
    longer.run(resume=True, progress=False)
    assert longer.last_resume is not None
    assert longer.last_resume.record.name == "again_epoch1" or linked == "run/fit"
    places = ["run", "elsewhere"] if linked != "run" else ["run"]
    now = {each.record.id for place in places for each in holdfast.scan(place)}
    assert before <= now, "nothing was replaced"
