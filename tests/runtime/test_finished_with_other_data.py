"""A run that is complete and started again trains nothing; where its script has other data now (the next fold), the verdict says so."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import holdfast
from holdfast import Checkpointing, Run, Write
from holdfast.errors import UsageError

CHANGED = "not exact: the data's values have changed: {} holds others than the run was trained on"


def policy(hook: str = "epoch_end") -> Checkpointing:
    return Checkpointing(save_on=hook, write=Write(durability="process"))


def own(value: float) -> Any:
    return holdfast.Dataset(x=np.arange(8.0) + value)


def tensors(value: float) -> Any:
    torch = pytest.importorskip("torch")
    return torch.utils.data.DataLoader(
        torch.utils.data.TensorDataset(torch.arange(8.0) + value), batch_size=4
    )


def fold(value: int) -> Any:
    torch = pytest.importorskip("torch")
    data = torch.utils.data.TensorDataset(torch.arange(8.0))
    rows = [row for row in range(8) if row % 4 != value]
    return torch.utils.data.DataLoader(torch.utils.data.Subset(data, rows), batch_size=4)


def by_epochs(directory: Path, training: Any, hook: str = "epoch_end") -> Run:
    with Run(directory, {"weight": np.zeros(1)}, checkpointing=policy(hook)) as run:
        for _ in run.epochs(2):
            for _ in run.batches(
                training, **({"batch_size": 4} if isinstance(training, holdfast.Dataset) else {})
            ):
                run["weight"][:] += 1
    return run


@pytest.mark.parametrize("hook", ["epoch_end", "batch_end", "phase_end"])
@pytest.mark.parametrize("make", [own, tensors, fold])
def test_other_data_in_the_variable_of_before_are_named(make, hook, tmp_path, caplog):
    by_epochs(tmp_path, make(0), hook)
    assert by_epochs(tmp_path, make(0), hook).last_resume.verdict == "exact"
    caplog.clear()
    run = by_epochs(tmp_path, make(1), hook)
    of_epoch = "not exact: the data's values have changed"  # it is in its last one, and the data are given
    assert run.last_resume.verdict == (of_epoch if hook == "batch_end" else CHANGED.format("training"))
    assert any("nothing was trained" in line for line in caplog.messages) == (hook != "batch_end")


def test_other_data_of_a_loop_counted_in_steps_are_named(tmp_path):
    def train(value: float) -> Run:
        with Run(tmp_path, {"weight": np.zeros(1)}, checkpointing=policy("batch_end")) as run:
            for _ in run.batches(own(value), steps=5, batch_size=4):
                run["weight"][:] += 1
        return run

    train(0)
    assert train(0).last_resume.verdict == "exact"
    assert train(1).last_resume.verdict == "not exact: the data's values have changed"


def test_of_several_loaders_the_one_that_changed_is_named(tmp_path):
    def train(labelled: Any, unlabelled: Any) -> Run:
        with Run(tmp_path, {"weight": np.zeros(1)}, checkpointing=policy()) as run:
            for _ in run.epochs(2):
                for _ in run.batches(labelled, unlabelled):
                    run["weight"][:] += 1
        return run

    train(tensors(0), tensors(5))
    assert train(tensors(0), tensors(5)).last_resume.verdict == "exact"
    assert train(tensors(0), tensors(6)).last_resume.verdict == CHANGED.format("unlabelled")


def test_data_that_only_the_loop_holds_are_said_to_be_unknown(tmp_path):
    def train(value: float) -> Run:
        validation = tensors(value)
        with Run(tmp_path, {"weight": np.zeros(1)}, checkpointing=policy()) as run:
            for _ in run.epochs(2):
                for _ in run.batches(tensors(value)):
                    run["weight"][:] += len(validation)
        return run

    train(0)
    assert train(1).last_resume.verdict.startswith(
        "not exact: nothing was left to train, and the data in the loop were not compared"
    )


def test_a_dataset_that_a_variable_holds_is_compared_where_its_loader_is_made_in_the_call(tmp_path):
    torch = pytest.importorskip("torch")

    def train(value: float) -> Run:
        samples = torch.utils.data.TensorDataset(torch.arange(8.0) + value)
        with Run(tmp_path, {"weight": np.zeros(1)}, checkpointing=policy()) as run:
            for _ in run.epochs(2):
                for _ in run.batches(torch.utils.data.DataLoader(samples, batch_size=4)):
                    run["weight"][:] += 1
        return run

    train(0)
    assert train(0).last_resume.verdict == "exact"
    assert train(1).last_resume.verdict == CHANGED.format("samples")


def test_a_second_loop_that_counts_anew_is_refused_and_not_empty(tmp_path):
    with Run(tmp_path, {"weights": [0.0]}) as run:
        assert list(run.steps(3)) == [0, 1, 2]
        with pytest.raises(UsageError, match="3 are done"):
            list(run.steps(3))
        assert list(run.steps(5)) == [3, 4]
    with Run(tmp_path, {"weights": [0.0]}) as run:  # started again when it is complete
        assert list(run.steps(3)) == list(run.steps(5)) == []
