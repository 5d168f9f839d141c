"""When a run goes on from an earlier checkpoint, its tracker is taken back by itself: real runs, real trackers."""

from __future__ import annotations

import importlib.util
import json
import logging
import multiprocessing
import os
import signal
import struct
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import holdfast
from holdfast import Checkpointing, Run, Write

pytestmark = pytest.mark.filterwarnings(
    "ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::ResourceWarning"
)


def needs(*modules: str):
    lacking = [name for name in modules if importlib.util.find_spec(name) is None]
    return pytest.mark.skipif(bool(lacking), reason=f"{lacking} is not installed")


def train(
    directory, note, *, life: int, resume: Any = True, n_epochs=4, do=lambda run, epoch: None, **policy
):
    """Epochs of two steps each; `value` says in which life of the script it was logged: 10 times that, and the epoch."""
    policy = Checkpointing(
        mode="disk", save_on="epoch_end", write=Write(background=False), on_saved=note, **policy
    )
    with Run(
        directory, {"weights": np.zeros(4)}, checkpointing=policy, resume=resume, variables="off"
    ) as run:
        for epoch in run.epochs(n_epochs):
            for _ in run.batches([1, 2]):
                run.log(value=10.0 * life + epoch)
            do(run, epoch)
    return run


def tensorboard(events: Path, tag: str = "value") -> list[tuple[int, float]]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    return [(each.step, each.value) for each in EventAccumulator(str(events)).Reload().Scalars(tag)]


# --- TensorBoard ----------------------------------------------------------------------------------------


@needs("tensorboard", "torch")
def test_tensorboard_forgets_what_came_after_the_checkpoint_of_a_name(tmp_path):
    from holdfast.integrations.tensorboard import TensorBoardNotes

    train(tmp_path / "run", note := TensorBoardNotes(tmp_path / "events"), life=1)
    note.close()
    assert tensorboard(tmp_path / "events") == [(2, 10.0), (4, 11.0), (6, 12.0), (8, 13.0)]
    train(tmp_path / "run", note := TensorBoardNotes(tmp_path / "events"), life=2, resume="train_epoch1")
    note.close()
    assert tensorboard(tmp_path / "events") == [(2, 10.0), (4, 11.0), (6, 22.0), (8, 23.0)]


def killed(directory: Path) -> None:
    """A life that ends by SIGKILL in its fourth epoch: its checkpoints end at the second, its own curve does not."""
    from holdfast.integrations.tensorboard import TensorBoardNotes

    note = TensorBoardNotes(directory / "events")

    def draw(run: Run, epoch: int) -> None:
        note.writer.add_scalar("mine", 10.0 + epoch, run.step)
        note.writer.flush()
        if epoch == 3:
            os.kill(os.getpid(), signal.SIGKILL)

    train(directory / "run", note, life=1, do=draw, every_n=2)


@pytest.mark.medium
@needs("tensorboard", "torch")
def test_after_a_kill_tensorboard_has_each_step_once_and_from_the_life_that_stands(tmp_path):
    from holdfast.integrations.tensorboard import TensorBoardNotes

    process = multiprocessing.get_context("spawn").Process(target=killed, args=(tmp_path,))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert tensorboard(tmp_path / "events", "mine")[-1] == (8, 13.0)
    note = TensorBoardNotes(tmp_path / "events")
    train(
        tmp_path / "run",
        note,
        life=2,
        do=lambda run, epoch: note.writer.add_scalar("mine", 20.0 + epoch, run.step),
        every_n=2,
    )
    note.close()
    assert tensorboard(tmp_path / "events") == [(4, 11.0), (8, 23.0)]
    assert tensorboard(tmp_path / "events", "mine") == [(2, 10.0), (4, 11.0), (6, 22.0), (8, 23.0)]


@pytest.mark.medium
@needs("tensorboard", "torch")
def test_a_rollback_takes_tensorboard_back_too(tmp_path):
    from holdfast.integrations.tensorboard import TensorBoardNotes

    visits = []

    def spoil(run: Run, epoch: int) -> None:
        visits.append(epoch)
        note.writer.add_scalar("mine", len(visits), run.step)
        if visits.count(2) == 1 and epoch == 2:
            run.log(loss=float("nan"))

    train(
        tmp_path / "run",
        note := TensorBoardNotes(tmp_path / "events"),
        life=1,
        do=spoil,
        on_divergence="rollback",
    )
    note.close()
    assert visits == [0, 1, 2, 2, 3]
    assert tensorboard(tmp_path / "events", "mine") == [(2, 1.0), (4, 2.0), (6, 4.0), (8, 5.0)]


@pytest.mark.slow
@needs("tensorboard", "torch")
def test_an_experiment_whose_phases_share_a_tracker_takes_it_back_once(tmp_path):
    from holdfast.integrations.tensorboard import TensorBoardNotes
    from tests.support.small_runs import experiment, rows
    from tests.support.small_runs import train as phase

    def build(note):
        policy = {"mode": "disk", "save_on": "epoch_end", "on_saved": note}
        phases = [
            phase(label, n_epochs=2, validation=rows(1), checkpointing=Checkpointing(**policy))
            for label in ("first", "second")
        ]
        return experiment(tmp_path / "run", *phases)

    build(note := TensorBoardNotes(tmp_path / "events")).run(progress=False)
    note.close()
    before, files = tensorboard(tmp_path / "events", "loss"), len([*(tmp_path / "events").iterdir()])
    build(note := TensorBoardNotes(tmp_path / "events")).run(resume="first_epoch0", progress=False)
    note.close()
    assert len({step for step, _ in before}) == len(before) == 4
    assert tensorboard(tmp_path / "events", "loss") == before
    assert len([*(tmp_path / "events").iterdir()]) == files + 1


# --- MLflow ---------------------------------------------------------------------------------------------


@pytest.mark.slow
@needs("mlflow")
def test_mlflow_resumes_in_a_nested_run_which_has_only_what_stands(tmp_path):
    import mlflow

    from holdfast.integrations.mlflow import MLflowNotes

    def history(run_id: str) -> list[tuple[int, float]]:
        return [(each.step, each.value) for each in client.get_metric_history(run_id, "value")]

    mlflow.set_tracking_uri(f"sqlite:///{tmp_path}/runs.db")
    client = mlflow.MlflowClient()
    with mlflow.start_run(run_name="digits") as first:
        mlflow.log_param("lr", 0.1)
        train(tmp_path / "run", MLflowNotes(), life=1)
    note = MLflowNotes(
        first.info.run_id
    )  # as a script that is started anew: nothing is later than its newest
    train(tmp_path / "run", note, life=2, n_epochs=5)
    assert note.run_id == first.info.run_id
    assert history(note.run_id) == [(2, 10.0), (4, 11.0), (6, 12.0), (8, 13.0), (10, 24.0)]

    note = MLflowNotes(first.info.run_id)
    train(tmp_path / "run", note, life=3, resume="train_epoch1")
    note.close()
    nested = client.get_run(note.run_id)
    assert history(note.run_id) == [(2, 10.0), (4, 11.0), (6, 32.0), (8, 33.0)]
    assert (nested.data.params, nested.info.status) == ({"lr": "0.1"}, "FINISHED")
    assert nested.data.tags["mlflow.parentRunId"] == first.info.run_id
    assert json.loads(nested.data.tags["holdfast.train_epoch3"])["step"] == 8
    assert len(history(first.info.run_id)) == 5, "what was logged stays where it was logged"
    left = client.get_run(first.info.run_id).data.tags
    assert [json.loads(left[f"holdfast.train_epoch{n}"]).get("void") for n in range(5)] == [
        None,
        None,
        *[True] * 3,
    ]
    assert MLflowNotes(first.info.run_id).run_id == note.run_id, "a script that is started anew finds it"


# --- Weights & Biases -----------------------------------------------------------------------------------


def records_of(directory: Path) -> list[Any]:
    """What an offline run has left on the disk: in blocks of 32 KiB, as LevelDB logs them."""
    from wandb.proto import wandb_internal_pb2

    [file] = directory.glob("wandb/offline-run-*/*.wandb")
    content, block = file.read_bytes(), 32768
    found, position, parts = [], 7, b""  # after the file's own header
    while position + 7 <= len(content):
        if block - position % block < 7:
            position += block - position % block  # no room was left for a header
        _, size, kind = struct.unpack_from("<IHB", content, position)
        parts += content[position + 7 : position + 7 + size]
        position += 7 + size
        if kind in (1, 4):  # whole, or its last part
            found.append(wandb_internal_pb2.Record())
            found[-1].ParseFromString(parts)
            parts = b""
    return found


def rows_of(directory: Path) -> list[dict[str, Any]]:
    """The rows of its history, once its other process has written the last record."""
    deadline = time.monotonic() + 60
    found = records_of(directory)
    while not any(each.HasField("exit") for each in found):
        assert time.monotonic() < deadline, "W&B has not finished the run"
        time.sleep(0.05)
        found = records_of(directory)
    return [
        {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in each.history.item}
        for each in found
        if each.HasField("history")
    ]


@pytest.mark.slow
@needs("wandb")
def test_rows_of_wandb_say_in_which_life_they_were_logged_so_that_one_stands_for_each_step(
    tmp_path, monkeypatch
):
    import wandb

    from holdfast.integrations.wandb import WandbNotes

    monkeypatch.setenv("WANDB_SILENT", "true")
    with wandb.init(project="p", mode="offline", dir=str(tmp_path)) as run:
        note = WandbNotes(run)
        train(tmp_path / "run", note, life=1)
        later = run.summary["holdfast/checkpoints/train_epoch3"]
        assert (later["step"], later["wandb_step"], later.get("void")) == (8, 3, None)
        train(tmp_path / "run", note, life=2, resume="train_epoch1", n_epochs=3)
        assert run.summary["holdfast/checkpoints/train_epoch3"]["void"] is True
        assert run.summary["holdfast/checkpoints/train_epoch2"].get("void") is None
        assert run.summary["holdfast/rewound_to"]["name"] == "train_epoch1"
    rows = rows_of(tmp_path)
    valued = [row for row in rows if "value" in row]
    assert [(row["holdfast/step"], row["holdfast/life"], row["value"]) for row in valued] == [
        *[(2, 0, 10.0), (4, 0, 11.0), (6, 0, 12.0), (8, 0, 13.0)],
        (6, 1, 22.0),
    ]
    [back] = [row for row in rows if "holdfast/rewound_to" in row]
    assert (back["holdfast/step"], back["holdfast/life"]) == (4, 1)


# --- any ------------------------------------------------------------------------------------------------


def test_a_tracker_that_fails_to_go_back_is_logged_and_harms_nothing(tmp_path, caplog):
    class Broken:
        def __call__(self, record) -> None: ...

        def rewind(self, record) -> None:
            raise OSError("the server is gone")

    train(tmp_path, Broken(), life=1)
    with caplog.at_level(logging.ERROR, logger="holdfast"):
        train(tmp_path, Broken(), life=2, resume="train_epoch1")
    assert "Broken could not be taken back to train_epoch1" in caplog.text
    assert [each.record.name for each in holdfast.scan(tmp_path)][-1] == "train_epoch3"
