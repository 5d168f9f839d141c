"""MLflow, W&B (offline) and TensorBoard are told of each checkpoint by reference, and of going back."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest

import holdfast
from holdfast import Checkpointing, Run

pytestmark = pytest.mark.filterwarnings(
    "ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::ResourceWarning"
)


def records(directory: Path, **options) -> list:
    """Of three real checkpoints."""
    policy = Checkpointing(mode="disk", save_on="epoch_end", **options)
    with Run(directory, {"weights": np.zeros(4)}, checkpointing=policy) as run:
        for epoch in run.epochs(3):
            for _ in run.batches([1, 2]):
                run.log(loss=1.0 / (1 + epoch), broken=float("nan"))
    return [listed.record for listed in holdfast.scan(directory)]


def needs(*modules: str):
    lacking = [name for name in modules if importlib.util.find_spec(name) is None]
    return pytest.mark.skipif(bool(lacking), reason=f"{lacking} is not installed")


@pytest.mark.medium
@needs("mlflow")
def test_mlflow_has_a_reference_to_each_checkpoint_and_marks_what_is_void(tmp_path):
    import mlflow

    from holdfast.integrations.mlflow import MLflowNotes

    mlflow.set_tracking_uri(f"sqlite:///{tmp_path}/runs.db")
    first, second, third = records(tmp_path / "run")
    with mlflow.start_run():
        note = MLflowNotes(directory=tmp_path / "run")
        for record in (first, second, third):
            note(record)
        noted_in = note.run_id
        assert note.rewind(first) == [second.name, third.name]
        note.close()
    run = mlflow.MlflowClient().get_run(noted_in)
    latest = json.loads(run.data.tags["holdfast.latest"])
    assert (latest["id"], latest["directory"]) == (first.id, str(tmp_path / "run"))
    assert json.loads(run.data.tags[f"holdfast.{third.name}"])["parent"] == second.id
    assert json.loads(run.data.tags[f"holdfast.{third.name}"])["void"] is True
    history = mlflow.MlflowClient().get_metric_history(noted_in, "loss")
    assert [(each.step, each.value) for each in history] == [(2, 1.0), (4, 0.5), (6, 1 / 3)]
    assert "broken" not in run.data.metrics


@pytest.mark.medium
@needs("mlflow")
def test_mlflow_without_a_run_says_what_to_do():
    from holdfast.integrations.mlflow import MLflowNotes

    with pytest.raises(ValueError, match=r"start_run"):
        MLflowNotes()


@pytest.mark.medium
@needs("wandb")
def test_wandb_offline_has_a_reference_to_each_checkpoint_and_says_where_it_went_back_to(
    tmp_path, monkeypatch
):
    import wandb

    from holdfast.integrations.wandb import WandbNotes

    monkeypatch.setenv("WANDB_SILENT", "true")
    monkeypatch.setenv("WANDB_DIR", str(tmp_path))
    first, second, third = records(tmp_path / "run")
    with wandb.init(project="p", mode="offline", dir=str(tmp_path)) as run:
        note = WandbNotes(run, directory=tmp_path / "run")
        for record in (first, second, third):
            note(record)
        assert run.summary["holdfast/latest"]["id"] == third.id
        assert run.summary[f"holdfast/checkpoints/{third.name}"]["parent"] == second.id
        note.rewind(first)
        assert run.summary["holdfast/latest"]["id"] == first.id
        assert run.summary["holdfast/rewound_to"]["name"] == first.name
    assert [*tmp_path.glob("wandb/offline-run-*/*.wandb")]


@pytest.mark.medium
@needs("tensorboard", "torch")
def test_tensorboard_forgets_what_was_logged_after_the_checkpoint_that_it_went_back_to(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    from holdfast.integrations.tensorboard import TensorBoardNotes

    first, second, third = records(tmp_path / "run")
    note = TensorBoardNotes(tmp_path / "events", directory=tmp_path / "run")
    for record in (first, second, third):
        note(record)
    note.rewind(first)
    note(second)
    note.close()
    events = EventAccumulator(str(tmp_path / "events")).Reload()
    assert [(each.step, round(each.value, 3)) for each in events.Scalars("loss")] == [(2, 1.0), (4, 0.5)]
    text = events.Tensors("holdfast/checkpoint/text_summary")[-1].tensor_proto.string_val[0]
    assert json.loads(text)["id"] == second.id
    assert "broken" not in events.Tags()["scalars"]


@pytest.mark.medium
@needs("tensorboard", "torch")
def test_a_policy_tells_its_tracker_of_each_checkpoint(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    from holdfast.integrations.tensorboard import TensorBoardNotes

    note = TensorBoardNotes(tmp_path / "events", directory=tmp_path / "run")
    listed = records(tmp_path / "run", on_saved=note)
    note.close()
    events = EventAccumulator(str(tmp_path / "events")).Reload()
    assert [each.step for each in events.Scalars("loss")] == [record.moment.step for record in listed]
