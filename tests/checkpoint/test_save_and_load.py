"""`holdfast.save` and `holdfast.load`: a state in a checkpoint of its own, in one line."""

from __future__ import annotations

import errno
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from random import Random

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

import holdfast
from holdfast import Run, errors
from holdfast.cli import app
from holdfast.storage import LocalDisk
from holdfast.testing import FaultyDisk, RecordingDisk, crash_states


def test_one_line_saves_and_one_loads_without_a_framework(tmp_path):
    script = (
        "import sys, holdfast; holdfast.save('x', {'a': 1}); print(holdfast.load('x'));"
        "print([name for name in ('torch', 'jax', 'keras', 'sklearn', 'lightning') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stdout == "{'a': 1}\n[]\n"
    assert [each.name for each in tmp_path.iterdir()] == ["x.ckpt.mml"]


def trained() -> dict:
    torch.manual_seed(0)
    model = torch.nn.Linear(3, 2)
    optimizer = torch.optim.Adam(model.parameters(), 0.1)
    model(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    return {"model": model, "optimizer": optimizer, "epoch": 3, "key": np.arange(4)}


def fresh() -> dict:
    model = torch.nn.Linear(3, 2)
    return {
        "model": model,
        "optimizer": torch.optim.Adam(model.parameters(), 0.5),
        "epoch": 0,
        "key": np.zeros(4, int),
    }


def test_live_objects_come_back_in_place_and_numbers_in_the_mapping(tmp_path):
    saved, live = trained(), fresh()
    model, key = live["model"], live["key"]
    path = holdfast.save(tmp_path / "a" / "b" / "best", saved)
    assert path == tmp_path / "a" / "b" / "best.ckpt.mml"
    restored = holdfast.load(path, into=live)
    assert live["model"] is model
    assert live["key"] is key
    assert torch.equal(model.weight, saved["model"].weight)
    assert live["optimizer"].state_dict()["param_groups"][0]["lr"] == 0.1
    assert live["epoch"] == 3
    assert key.tolist() == [0, 1, 2, 3]
    assert "loaded      model/weight" in restored.report


def test_state_dicts_and_plain_values_come_back_as_they_are(tmp_path):
    model = trained()["model"]
    holdfast.save(tmp_path / "w", model.state_dict())
    loaded = holdfast.load(tmp_path / "w")
    assert list(loaded) == ["weight", "bias"]
    assert np.array_equal(loaded["weight"], model.weight.detach().numpy())
    other = torch.nn.Linear(3, 2)
    holdfast.load(tmp_path / "w", into={"weight": other.weight.data})
    assert torch.equal(other.weight, model.weight)
    with torch.no_grad():
        assert np.array_equal(holdfast.load(tmp_path / "w", mmap=True)["bias"], model.bias.numpy())


def test_names_of_options_are_names_like_any_other(tmp_path):
    names = [
        "strict",
        "label",
        "resume",
        "checkpointing",
        "verify",
        "only",
        "rename",
        "path",
        "state",
        "self",
    ]
    state = {name: number for number, name in enumerate(names)}
    holdfast.save(tmp_path / "x", state)
    assert holdfast.load(tmp_path / "x") == state
    live = dict.fromkeys(names, -1)
    with holdfast.open(tmp_path / "x.ckpt.mml") as checkpoint:
        checkpoint.restore(live)
    assert live == state
    for _ in range(2):
        again = dict.fromkeys(names, -1)
        with Run(tmp_path / "run", again) as run:
            for _ in run.epochs(1):
                again.update(state)
    assert again == state
    assert run.last_resume.verdict == "exact"


@pytest.mark.parametrize(
    ("state", "message"),
    [
        (torch.nn.Linear(1, 1), r'\{"model": model.*not torch.nn.modules.linear.Linear'),
        (None, r'such as \{"model": model.*not None'),
        ([("a", 1)], "not list"),
        ({}, r"state is empty.*\{\"model\": model"),
        ({1: 2}, "1 cannot be one"),
        ({"": 2}, "'' cannot be one"),
    ],
)
def test_what_is_no_state_is_refused_at_every_door(tmp_path, state, message):
    holdfast.save(tmp_path / "there", {"a": 1})
    with pytest.raises(errors.UsageError, match=message):
        holdfast.save(tmp_path / "x", state)
    with pytest.raises(errors.UsageError, match=message):
        Run(tmp_path / "run", state)
    checkpoint = holdfast.open(tmp_path / "there.ckpt.mml")
    with checkpoint, pytest.raises(errors.UsageError, match=message):
        checkpoint.restore(state)
    if state is not None:
        with pytest.raises(errors.UsageError, match=message):
            holdfast.load(tmp_path / "there", into=state)
    assert [each.name for each in tmp_path.iterdir()] == ["there.ckpt.mml"]


@pytest.mark.parametrize("path", ["", " ", ".", "..", "a/.", None, 5, b"x", "a\0b", ".ckpt.mml"])
def test_a_path_that_cannot_be_that_of_a_checkpoint_is_refused(tmp_path, monkeypatch, path):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(errors.UsageError):
        holdfast.save(path, {"a": 1})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "option",
    [
        {"metrics": {"loss": "low"}},
        {"metrics": 3},
        {"metrics": {1: 2.0}},
        {"durability": "some"},
    ],
)
def test_an_option_without_meaning_is_refused(tmp_path, option):
    with pytest.raises(errors.UsageError, match=next(iter(option))):
        holdfast.save(tmp_path / "x", {"a": 1}, **option)
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_saved_is_named_and_nothing_is_written(tmp_path):
    with pytest.raises(errors.UnsupportedStateError, match="'a/f'"):
        holdfast.save(tmp_path / "x", {"a": {"f": lambda: 0}})
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_replaced_unasked(tmp_path):
    holdfast.save(tmp_path / "x", {"a": 1})
    with pytest.raises(errors.CheckpointExistsError):
        holdfast.save(f"{tmp_path}/x.ckpt.mml", {"a": 2})
    assert holdfast.load(tmp_path / "x") == {"a": 1}
    holdfast.save(tmp_path / "x", {"a": 2}, overwrite=True)
    assert holdfast.load(tmp_path / "x") == {"a": 2}
    with pytest.raises(errors.CheckpointNotFoundError):
        holdfast.load(tmp_path / "y")


def test_a_misfit_changes_nothing(tmp_path):
    holdfast.save(tmp_path / "x", {"a": np.ones(3), "n": 1})
    live = {"a": np.zeros(4), "n": 0}
    with pytest.raises(errors.StateMismatchError, match="a: "):
        holdfast.load(tmp_path / "x", into=live)
    assert live["n"] == 0


def test_it_is_a_checkpoint_like_any_other(tmp_path):
    holdfast.save(tmp_path / "x", {"w": np.ones(3)}, metrics={"val_loss": np.float32(0.5)})
    holdfast.save(tmp_path / "y", {"w": np.array([1, np.nan, 1])})
    listed = holdfast.scan(tmp_path)
    assert [each.record.name for each in listed] == ["x", "y"]
    assert listed[0].record.metrics == {"val_loss": 0.5}
    assert listed[1].record.details["health"] == {"sick": 1, "leaves": {"w": [1, 0]}}
    for command in (["ls", tmp_path], ["verify", tmp_path], ["show", tmp_path / "x.ckpt.mml"]):
        done = CliRunner().invoke(app, [str(each) for each in command])
        assert done.exit_code == 0, done.output
    diff = CliRunner().invoke(app, ["diff", str(tmp_path / "x.ckpt.mml"), str(tmp_path / "y.ckpt.mml")])
    assert "w" in diff.output


def test_arrays_of_a_trusted_checkpoint_are_linked(tmp_path):
    frozen = np.random.default_rng(0).normal(size=100_000)
    first = holdfast.save(tmp_path / "x", {"frozen": frozen, "n": 1})
    holdfast.save(tmp_path / "y", {"frozen": frozen, "n": 2}, share_with=first)
    record = holdfast.scan(tmp_path)[-1].record
    assert record.bytes_shared == frozen.nbytes
    with pytest.raises(errors.CheckpointNotFoundError):
        holdfast.save(tmp_path / "z", {"n": 2}, share_with=[tmp_path / "nothing"])


# --- beside a run -------------------------------------------------------------------------------------


def test_a_run_in_the_same_directory_resumes_and_leaves_it_alone(tmp_path):
    state = {"n": 0}
    with Run(tmp_path, state) as run:
        for epoch in run.epochs(6):
            state["n"] = epoch + 1
            holdfast.save(tmp_path / f"mine{epoch}", state)
    assert [holdfast.load(tmp_path / f"mine{epoch}")["n"] for epoch in range(6)] == [1, 2, 3, 4, 5, 6]
    again = {"n": 0}
    with Run(tmp_path, again) as run:
        assert list(run.epochs(6)) == []
    assert again == {"n": 6}


def test_a_run_never_resumes_from_it_unasked_and_says_so_when_asked(tmp_path):
    three = {"run": 0, "results": 1, "random": 2, "n": 3}  # what a loop's own checkpoint has
    holdfast.save(tmp_path / "start", three)
    with Run(tmp_path, {"n": 0}) as run:
        assert run.last_resume is None
    with pytest.raises(errors.PlanMismatchError, match=r"(?s)holds a state, and no run.*holdfast\.load"):
        Run(tmp_path, {"n": 0}, resume="start").__enter__()


def test_a_script_that_is_sent_elsewhere_saves_there_and_reads_what_is_only_here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    holdfast.save("models/base", {"a": 1})
    monkeypatch.setenv("HOLDFAST_DIRECTORY", str(tmp_path / "elsewhere"))
    assert holdfast.load("models/base") == {"a": 1}
    holdfast.save("models/base", {"a": 2})
    assert holdfast.load("models/base") == {"a": 2}
    monkeypatch.delenv("HOLDFAST_DIRECTORY")
    assert holdfast.load("models/base") == {"a": 1}


# --- faults -------------------------------------------------------------------------------------------


def test_after_any_power_cut_there_is_the_old_one_or_the_new_one_and_after_a_return_the_new_one():
    disk = RecordingDisk()
    marks = []
    for number in range(2):
        holdfast.save("deep/er/x", {"n": number, "w": np.full(9, number)}, overwrite=True, disk=disk)
        marks.append(len(disk.events))
    states = 0
    for happened, image in crash_states(disk.events, 24, Random(0)):
        found, left = None, image.disk()
        if ("deep/er/x.ckpt.mml", None) in image.paths():
            found = holdfast.load("deep/er/x", disk=left)
            assert found["w"].tolist() == [found["n"]] * 9
        saved = sum(mark <= happened for mark in marks)
        allowed = {None: [0], 0: [0, 1], 1: [1, 2]}[None if found is None else found["n"]]
        assert saved in allowed, (happened, found)
        states += 1
    assert states > 200


def test_whatever_the_disk_refuses_the_old_one_stays(tmp_path):
    refused = 0
    for number in range(200):
        place = tmp_path / str(number)
        holdfast.save(place / "x", {"w": np.zeros(5)})
        disk = FaultyDisk(LocalDisk(), number, errno.ENOSPC)
        try:
            holdfast.save(place / "x", {"w": np.ones(5)}, overwrite=True, disk=disk)
        except errors.CommitUncertainError:
            refused += 1
        except errors.SaveError:
            refused += 1
            assert holdfast.load(place / "x")["w"].sum() == 0
        else:
            assert holdfast.load(place / "x")["w"].sum() == 5
            if disk.failed is None:
                break
    assert refused > 10


KILLED = """
import sys, numpy as np, holdfast
number = int(sys.argv[2])
holdfast.save(sys.argv[1] + "-before", {"n": number}, overwrite=True)  # everything is imported
print("ready", flush=True)
while True:
    number += 1
    holdfast.save(sys.argv[1], {"n": number, "w": np.full(200_000, number)}, overwrite=True)
    print(number, flush=True)
"""


@pytest.mark.medium
def test_a_kill_at_any_instant_leaves_the_last_one_or_the_next(tmp_path):
    path, number, waits = tmp_path / "deep" / "x", 0, random.Random(1)
    for _ in range(12):
        process = subprocess.Popen(
            [sys.executable, "-c", KILLED, str(path), str(number)], stdout=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        time.sleep(waits.uniform(0.0, 0.15))
        os.kill(process.pid, signal.SIGKILL)
        told = [int(line) for line in process.stdout.read().splitlines(keepends=True) if line.endswith("\n")]
        process.wait()
        process.stdout.close()
        returned = told[-1] if told else number
        if returned or Path(f"{path}.ckpt.mml").exists():
            found = holdfast.load(path)
            assert found["n"] in (returned, returned + 1)
            assert (found["w"] == found["n"]).all()
            number = found["n"]
    assert number > 0
