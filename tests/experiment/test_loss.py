"""Losses, metrics, and their means over an epoch."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import mean_squared_error, recall_score
from torch import nn

from holdfast import state
from holdfast.errors import UsageError
from holdfast.experiment import Loss, Metric
from holdfast.experiment._loss import Averages, outputs_needed, total_loss

OUTPUTS = {"head": torch.tensor([[2.0], [4.0]], requires_grad=True), "guess": np.array([1, 0])}
BATCH = {"y": np.array([[1.0], [1.0]]), "digit": np.array([1, 1])}


def test_a_loss_of_a_tensor_gets_its_target_as_a_tensor_of_the_same_dtype():
    value = Loss("mse", nn.functional.mse_loss, output="head", target="y")(OUTPUTS, BATCH)
    assert (value.dtype, value.requires_grad, value.item()) == (torch.float32, True, 5.0)


def test_a_loss_of_an_array_gets_arrays():
    loss = Loss("mse", mean_squared_error, output="guess", target="digit")
    assert loss(OUTPUTS, {"digit": torch.tensor([1, 1])}) == 0.5


def test_a_loss_may_compare_two_outputs_or_need_no_target():
    assert (
        Loss("gap", lambda a, b: (a[:, 0] - b).sum(), output="head", target="guess")(OUTPUTS, BATCH).item()
        == 5
    )
    assert Loss("size", torch.mean, output="head", target=None)(OUTPUTS, BATCH).item() == 3


def test_the_sum_of_losses_is_weighted_and_each_is_told_unweighted():
    losses = [
        Loss("mse", nn.functional.mse_loss, output="head", target="y", weight=0.5),
        Loss("size", torch.mean, output="head", target=None, weight=2),
    ]
    total, each = total_loss(losses, OUTPUTS, BATCH)
    assert total.item() == 0.5 * 5 + 2 * 3
    assert {label: value.item() for label, value in each.items()} == {"mse": 5, "size": 3}


def test_a_metric_is_called_as_scikit_learn_does_target_first():
    metric = Metric("recall", recall_score, output="guess", target="digit")
    assert metric(OUTPUTS, BATCH) == 0.5
    of_tensor = Metric("bias", lambda target, output: (output - target).mean(), output="head", target="y")
    assert of_tensor(OUTPUTS, BATCH) == 2.0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"output": "tail", "target": "y"}, "no output 'tail'; there are head, guess"),
        (
            {"output": "head", "target": "z"},
            r"'z' is neither a column of the batch \(y, digit\) nor an output",
        ),
    ],
)
@pytest.mark.parametrize("kind", [Loss, Metric])
def test_a_name_that_is_not_there_is_told_with_those_that_are(kind, options, message):
    with pytest.raises(UsageError, match=message):
        kind("mine", nn.functional.mse_loss, **options)(OUTPUTS, BATCH)


def test_a_loss_that_was_not_reduced_is_refused():
    loss = Loss("mse", nn.MSELoss(reduction="none"), output="head", target="y")
    with pytest.raises(UsageError, match=r"Loss\('mse'.*gave shape \(2, 1\), not a scalar"):
        loss(OUTPUTS, BATCH)


def test_a_weight_that_is_no_number_is_refused():
    with pytest.raises(UsageError, match="weight= must be finite"):
        Loss("mse", nn.functional.mse_loss, output="head", target="y", weight=math.nan)


def test_outputs_are_checked_before_anything_runs():
    losses = [
        Loss("a", abs, output="head", target="guess"),
        Metric("b", abs, output="head", target="y"),
    ]
    assert outputs_needed(losses, ("encoder", "head", "guess")) == ("head", "guess")
    with pytest.raises(UsageError, match="no node 'head'; there are encoder"):
        outputs_needed(losses, ("encoder",))
    with pytest.raises(UsageError, match="two losses or metrics are named 'a'"):
        outputs_needed([losses[0], losses[0]], ("head", "guess"))
    with pytest.raises(UsageError, match="no loss to sum"):
        total_loss([], {}, {})


@given(st.lists(st.tuples(st.floats(-1e6, 1e6), st.integers(1, 64)), min_size=1), st.data())
def test_means_weigh_batches_by_their_size_and_resume_from_any_batch(batches, data):
    complete, first = Averages(), Averages()
    cut = data.draw(st.integers(0, len(batches)))
    for value, size in batches:
        complete.add({"loss": value}, size)
    for value, size in batches[:cut]:
        first.add({"loss": value}, size)
    rest = Averages()
    rest.set_state(state.rebuild(state.capture(first.get_state())))
    for value, size in batches[cut:]:
        rest.add({"loss": torch.tensor(value, dtype=torch.float64, requires_grad=True)}, size)
    assert rest.means() == complete.means(), "to the bit"
    samples = np.repeat([value for value, _ in batches], [size for _, size in batches])
    assert complete.means()["loss"] == pytest.approx(samples.mean(), rel=1e-9, abs=1e-6)


def test_a_single_nan_shows_in_the_mean():
    averages = Averages()
    averages.add({"loss": 1.0}, 4)
    averages.add({"loss": math.nan}, 4)
    assert math.isnan(averages.means()["loss"])
