"""What directories and checkpoints that cannot be used get: an error of our own tree that names it, before anything is trained, written or changed.

The law is `refusals.refused`: the error's type and message, no file made, no weight or random draw changed.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from pathlib import Path

import pytest
import torch
from torch import nn

import holdfast
from holdfast import Callback, Experiment, ModelGraph, ModelNode
from holdfast.errors import (
    CheckpointExistsError,
    CheckpointNotFoundError,
    DamagedError,
    FormatVersionError,
    HoldfastError,
    PlanMismatchError,
    RunActiveError,
    StateMismatchError,
    UsageError,
)
from holdfast.records import Moment
from tests.support.refusals import refused
from tests.support.small_runs import experiment, graph, on_disk, rows, train


@pytest.fixture
def saved(tmp_path):
    """An experiment that was run and saved, in `tmp_path/"runs"`."""
    run = experiment(tmp_path / "runs", train(checkpointing=on_disk()), checkpointing=on_disk("phase_end"))
    run.run()
    return run


def again(tmp_path: Path, **options) -> Experiment:
    """The same, built by a newly started script."""
    phase = train(checkpointing=on_disk())
    return experiment(tmp_path / "runs", phase, checkpointing=on_disk("phase_end"), **options)


def test_a_directory_in_which_another_run_is_live(tmp_path, saved):
    with (
        holdfast.runtime.ExperimentDirectory(tmp_path / "runs", "another"),
        refused(
            tmp_path,
            RunActiveError,
            match=rf"another run of this process \({os.getpid()}\).* End that run.*share_directory=True",
            run=saved,
        ),
    ):
        saved.run()


def test_a_name_that_is_taken_and_must_not_be_overwritten(tmp_path, saved):
    run = experiment(tmp_path / "runs", train(checkpointing=on_disk(overwrite=False)))
    with refused(tmp_path, CheckpointExistsError, FileExistsError, match="train_epoch0", run=run):
        run.run()
    with refused(tmp_path, CheckpointExistsError, FileExistsError, match="train", run=run):
        run.save_checkpoint("train", overwrite=False)


ASK = {
    "restore": lambda run, name: run.restore_checkpoint(name),
    "resume": lambda run, name: run.run(resume=name),
}


@pytest.mark.parametrize("ask", ASK.values(), ids=ASK)
@pytest.mark.parametrize("name", ["nothing", "train/train_epoch99", "../runs/x", "/nowhere/x.ckpt.mml"])
def test_a_checkpoint_that_is_not_there(tmp_path, saved, ask, name):
    run = again(tmp_path)
    with refused(tmp_path, CheckpointNotFoundError, FileNotFoundError, match=re.escape(name), run=run):
        ask(run, name)


def test_a_checkpoint_without_a_name_is_not_there(tmp_path, saved):
    run = again(tmp_path)
    with refused(tmp_path, UsageError, ValueError, match="pass a checkpoint's path or name, not ''", run=run):
        run.restore_checkpoint("")


def no_record(bundle: Path) -> None:
    (bundle / "checkpoint.json").unlink()


def empty_record(bundle: Path) -> None:
    (bundle / "checkpoint.json").write_bytes(b"")


def changed_record(bundle: Path) -> None:
    record = bundle / "checkpoint.json"
    record.write_text(record.read_text().replace('"train"', '"brain"'))


def no_pack(bundle: Path) -> None:
    for pack in bundle.glob("*.safetensors"):
        pack.unlink()


def cut_pack(bundle: Path) -> None:
    for pack in bundle.glob("*.safetensors"):
        data = pack.read_bytes()
        pack.unlink()
        pack.write_bytes(data[:-100])


def flipped_bit(bundle: Path) -> None:
    for pack in bundle.glob("*.safetensors"):
        data = bytearray(pack.read_bytes())
        data[8 + int.from_bytes(data[:8], "little") + 4] ^= 1  # in the first array
        pack.unlink()
        pack.write_bytes(data)


def flipped_weight(bundle: Path) -> None:
    for pack in bundle.glob("*.safetensors"):
        data = bytearray(pack.read_bytes())
        start = 8 + int.from_bytes(data[:8], "little")
        at = json.loads(data[8:start])["model_graph/head/weight"]["data_offsets"][0]
        data[start + at] ^= 1
        pack.unlink()
        pack.write_bytes(data)


def foreign_zip(bundle: Path) -> None:
    shutil.rmtree(bundle)
    bundle.write_bytes(b"PK\x03\x04 a checkpoint of another library")


def foreign_folder(bundle: Path) -> None:
    shutil.rmtree(bundle)
    bundle.mkdir()
    (bundle / "model.pt").write_bytes(b"weights")


DAMAGE = [
    no_record,
    empty_record,
    changed_record,
    no_pack,
    cut_pack,
    flipped_bit,
    flipped_weight,
    foreign_folder,
]


@pytest.mark.parametrize("ask", ASK.values(), ids=ASK)
@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_or_foreign_checkpoint(tmp_path, saved, ask, damage):
    bundle = tmp_path / "runs" / "train" / "train_epoch1.ckpt.mml"
    damage(bundle)
    run = again(tmp_path)
    with refused(tmp_path, DamagedError, match="train_epoch1", run=run):
        ask(run, bundle)


@pytest.mark.parametrize("ask", ASK.values(), ids=ASK)
def test_a_file_of_another_library(tmp_path, saved, ask):
    bundle = tmp_path / "runs" / "train" / "train_epoch1.ckpt.mml"
    foreign_zip(bundle)
    run = again(tmp_path)
    with refused(tmp_path, HoldfastError, match="train_epoch1", run=run):
        ask(run, bundle)


def test_a_checkpoint_of_a_newer_format(tmp_path, saved):
    from blake3 import blake3

    record = tmp_path / "runs" / "train.ckpt.mml" / "checkpoint.json"
    head, _, _ = record.read_text().rpartition(',"digest":"')
    newer = json.loads(head + "}") | {"format": 99}
    text = json.dumps(newer, separators=(",", ":"))[:-1]
    record.write_text(f'{text},"digest":"{blake3(text.encode()).hexdigest()}"}}')
    run = again(tmp_path)
    for ask in ASK.values():
        with refused(tmp_path, FormatVersionError, match="format version 99", run=run):
            ask(run, record.parent)


@pytest.mark.parametrize("ask", ASK.values(), ids=ASK)
def test_a_shape_that_differs(tmp_path, saved, ask):
    run = again(tmp_path, graph=graph(width=9))
    with refused(tmp_path, StateMismatchError, ValueError, match="model_graph/body/0.weight", run=run):
        ask(run, "train/train_epoch1")


@pytest.mark.parametrize("ask", ASK.values(), ids=ASK)
def test_a_graph_with_other_nodes(tmp_path, saved, ask):
    models = ModelGraph(
        [ModelNode("body", nn.Linear(4, 8), "pixels"), ModelNode("head", nn.Linear(8, 3), "body")],
        optimizer=lambda parameters: torch.optim.SGD(parameters, lr=0.1),
    )
    run = again(tmp_path, graph=models)
    with refused(tmp_path, StateMismatchError, ValueError, match="model_graph/", run=run):
        ask(run, "train/train_epoch1")


def test_resuming_from_another_experiment(tmp_path, saved):
    run = Experiment("other", graph(), directory=tmp_path / "runs").add(train(checkpointing=on_disk()))
    with refused(tmp_path, PlanMismatchError, ValueError, match="'small', and this is 'other'", run=run):
        run.run(resume="train/train_epoch1")


def test_resuming_with_other_callbacks_of_the_experiment(tmp_path, saved):
    run = again(tmp_path, callbacks=[Callback()])
    with refused(tmp_path, PlanMismatchError, ValueError, match="had 0 callbacks and has 1", run=run):
        run.run(resume="train/train_epoch1")


@pytest.mark.parametrize("ask", ASK.values(), ids=ASK)
def test_a_checkpoint_of_something_else_than_an_experiment(tmp_path, saved, ask):
    state_only = holdfast.capture({"model_graph": saved.graph})
    with holdfast.runtime.ExperimentDirectory(tmp_path / "runs", "mine") as directory:
        draft = directory.draft(
            "mine",
            kind="train",
            moment=Moment(run="mine", hook="by_hand"),
            metrics={},
            reason="",
            blocked_s=0.0,
        )
        directory.save(str(tmp_path / "runs"), draft, state_only)
    run = again(tmp_path)
    with refused(tmp_path, PlanMismatchError, ValueError, match="does not hold an experiment", run=run):
        ask(run, "mine")


def test_a_plan_in_which_a_half_done_phase_differs(tmp_path, saved):
    run = experiment(tmp_path / "runs", train(accumulate=2, checkpointing=on_disk()))
    with refused(tmp_path, PlanMismatchError, ValueError, match="accumulate was 1 and is 2", run=run):
        run.run(resume="train/train_epoch1")


def test_data_that_differ_from_those_of_the_checkpoint(tmp_path, saved):
    run = experiment(tmp_path / "runs", train(data=rows(seed=3), checkpointing=on_disk()))
    with refused(tmp_path, PlanMismatchError, ValueError, match="data", run=run):
        run.run(resume="train/train_epoch1")


def test_a_key_or_part_that_a_checkpoint_does_not_have(tmp_path, saved):
    with holdfast.open(saved.available_checkpoints["train"]) as checkpoint:
        for path in ("model_graph/tail/weight", "nothing", "model_graph/"):
            with pytest.raises(KeyError):
                checkpoint[path]
