"""`holdfast replay` runs a script from one checkpoint to the next, touches nothing, and says whether the same came out."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

LOOP = """
import os, sys
import numpy as np
from holdfast import Checkpointing, Every, Run, Seconds, rng

rng.seed_everything(0)
weight, other = np.zeros(3), np.zeros(2)
policy = Checkpointing(mode="disk", save_on="epoch_end", write=dict(durability="process"))
with Run("runs/loop", {{"weight": weight, "other": other}}, checkpointing=policy, resume={resume}) as run:
    for epoch in run.epochs(4):
        for batch in run.batches(np.arange(5.0).tolist()):
            weight += batch * np.random.random()
        other += {other}
        print("epoch", epoch, flush=True)
open("done.txt", "a").write("whole run\\n")
"""

EXPERIMENT = """
import os
import numpy as np, torch
from holdfast import Checkpointing, Experiment, Loss, ModelGraph, ModelNode, TrainPhase

torch.manual_seed(0)
x = np.linspace(0, 1, 64, dtype="float32").reshape(64, 1)
graph = ModelGraph(
    [ModelNode("line", torch.nn.Sequential(torch.nn.Linear(1, 4), torch.nn.Dropout(0.2), torch.nn.Linear(4, 1)), inputs="x")],
    optimizer=lambda parameters: torch.optim.Adam(parameters, lr=0.1),
)
loss = Loss("mse", torch.nn.functional.mse_loss, output="line", target="y")
def step(graph, batch):
    output = graph.forward(batch, ["line"])["line"]
    error = (output - torch.as_tensor(batch["y"])).square().mean()
    graph.optimizers[0].zero_grad()
    (error * {factor}).backward()
    graph.optimizers[0].step()
    return {{"mse": error.detach()}}
experiment = Experiment("lines", graph, directory="runs/lines", checkpointing=Checkpointing(mode="disk", save_on="phase_end"))
policy = Checkpointing(mode="disk", save_on="epoch_end", every_n=2, write=dict(durability="process"))
experiment.add(TrainPhase("fit", data={{"x": x, "y": 2 * x}}, step=step, n_epochs=4, batch_size=16, checkpointing=policy))
experiment.run(progress=False)
"""


@pytest.fixture
def work(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def script(text: str) -> list[str]:
    Path("train.py").write_text(textwrap.dedent(text))
    command = [sys.executable, "train.py"]
    subprocess.run(command, check=True, capture_output=True)
    return command


def everything(directory: Path) -> dict[str, tuple[int, bytes]]:
    return {
        str(path.relative_to(directory)): (path.stat().st_ino, path.read_bytes())
        for path in directory.rglob("*")
        if path.is_file()
    }


@pytest.mark.medium
def test_a_deterministic_loop_comes_to_the_same_state_and_nothing_is_touched(work, holdfast):
    command = script(LOOP.format(resume=True, other=1))
    before = everything(work)
    done = holdfast("replay", "runs/loop/train_epoch1.ckpt.mml", "--", *command)
    assert done.exit_code == 0, done.output
    assert "Same state, bit for bit: train_epoch1 → train_epoch2 (resumed: exact)." in done.stdout
    assert everything(work) == before  # the script was stopped before it wrote `done.txt` again
    assert sorted(os.listdir("runs")) == ["loop"]


@pytest.mark.medium
def test_a_script_that_asks_for_no_resume_resumes_from_the_checkpoint_all_the_same(work, holdfast):
    command = script(LOOP.format(resume=False, other=1))
    done = holdfast("replay", "runs/loop/train_epoch1", "--json", "--", *command)
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert (found["same_state"], found["differing"], found["resumed"]) == (True, [], "exact")
    assert found["verdict"] == "proved"


@pytest.mark.medium
def test_what_is_not_part_of_the_state_is_found_and_the_array_named(work, holdfast):
    command = script(LOOP.format(resume=True, other="int.from_bytes(os.urandom(4)) + os.getpid()"))
    done = holdfast("replay", "runs/loop/train_epoch1", "--", *command)
    assert done.exit_code == 8, done.output
    assert "the state differs from that of train_epoch2: 'other' is not the same" in done.stderr
    done = holdfast("replay", "runs/loop/train_epoch1", "--json", "--", *command)
    assert done.exit_code == 8
    assert json.loads(done.stdout)["differing"] == ["other"]
    assert json.loads(done.stdout)["verdict"] == "not exact"


@pytest.mark.medium
def test_a_checkpoint_that_was_saved_because_time_had_passed_ends_a_replay_too(work, holdfast):
    text = LOOP.replace(
        'save_on="epoch_end", write=dict(durability="process")',
        'when=Every("epoch_end") | Seconds(1e-6), write=dict(background=False)',
    )
    assert text != LOOP
    command = script(text.format(resume=True, other=1))
    start, end = "runs/loop/train_epoch1", "runs/loop/train_epoch2_batch3"
    assert holdfast("show", end, "--json").exit_code == 0
    # In the replay time passes otherwise, and none of these might come.
    Path("train.py").write_text(text.replace("1e-6", "1e6").format(resume=True, other=1))
    done = holdfast("replay", start, "--to", end, "--", *command)
    assert done.exit_code == 0, done.output
    assert "train_epoch1 → train_epoch2_batch3" in done.stdout


@pytest.mark.medium
def test_a_later_checkpoint_can_be_requested(work, holdfast):
    command = script(LOOP.format(resume=True, other=1))
    done = holdfast("replay", "runs/loop/train_epoch0", "--to", "runs/loop/train_epoch3", "--", *command)
    assert done.exit_code == 0, done.output
    assert "train_epoch0 → train_epoch3" in done.stdout


@pytest.mark.medium
def test_an_experiment_is_replayed_between_epochs_and_to_the_end_of_its_phase(work, holdfast):
    command = script(EXPERIMENT.format(factor=1))
    before = everything(work)
    done = holdfast("replay", "runs/lines/fit/fit_epoch1", "--", *command)
    assert done.exit_code == 0, done.output
    assert "fit/fit_epoch1 → fit/fit_epoch3 (resumed: exact)" in done.stdout
    done = holdfast("replay", "runs/lines/fit/fit_epoch3", "--", *command)
    assert done.exit_code == 0, done.output
    assert "fit/fit_epoch3 → fit (resumed: exact)" in done.stdout
    assert everything(work) == before


@pytest.mark.medium
def test_an_experiment_that_is_not_deterministic_is_found(work, holdfast):
    command = script(
        EXPERIMENT.format(factor="(1 + int.from_bytes(os.urandom(4)) / 1000 + os.getpid() / 1e6)")
    )
    done = holdfast("replay", "runs/lines/fit/fit_epoch1", "--", *command)
    assert done.exit_code == 8, done.output
    assert "'model_graph/line/0.weight' is not the same" in done.stderr


@pytest.mark.medium
def test_where_files_cannot_be_linked_the_checkpoint_is_copied(work, holdfast, monkeypatch):
    from holdfast.storage import _local

    command = script(LOOP.format(resume=True, other=1))

    def refuse(*_):
        raise PermissionError(1, "no links here")

    monkeypatch.setattr(_local._Directory, "link", refuse)
    done = holdfast("replay", "runs/loop/train_epoch1", "--", *command)
    assert done.exit_code == 0, done.output


@pytest.mark.parametrize(
    ("bundle", "command", "said"),
    [
        ("train_epoch3", ["true"], "no later checkpoint of its run"),
        ("train_epoch1", ["true"], "ended with exit code 0 before train_epoch2 was saved"),
        ("train_epoch1", ["false"], "ended with exit code 1 before train_epoch2 was saved"),
        ("train_epoch1", ["./no-such-command"], "cannot be run"),
        ("train_epoch9", ["true"], "there is no checkpoint of this path"),
    ],
)
def test_what_cannot_be_replayed_is_said(bundle, command, said, work, holdfast, looped):
    (work / "runs").symlink_to(looped / "runs")
    done = holdfast("replay", f"runs/loop/{bundle}", "--", *command)
    assert done.exit_code == 2
    assert said in done.stderr
    assert sorted(os.listdir(looped / "runs")) == ["loop"]


@pytest.fixture(scope="module")
def looped(tmp_path_factory) -> Path:
    place = tmp_path_factory.mktemp("looped")
    (place / "train.py").write_text(textwrap.dedent(LOOP.format(resume=True, other=1)))
    subprocess.run([sys.executable, "train.py"], check=True, capture_output=True, cwd=place)
    return place
