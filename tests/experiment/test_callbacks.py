"""Callbacks, and early stopping against real training."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from holdfast import state
from holdfast.errors import UsageError
from holdfast.experiment import Callback, Context, EarlyStopping, ModelGraph, ModelNode
from holdfast.experiment import _steps as steps
from holdfast.experiment._callbacks import in_order
from holdfast.records import Moment


def build(seed: int = 0) -> ModelGraph:
    torch.manual_seed(seed)
    return ModelGraph(
        [ModelNode("line", nn.Linear(2, 1), "x")],
        optimizer=lambda parameters: torch.optim.Adam(parameters, lr=0.1),
    )


def train_one_epoch(graph: ModelGraph) -> None:
    steps.backward(graph, graph.forward({"x": torch.ones(4, 2)})["line"].square().sum())
    steps.optimizer_step(graph)


def end_of(epoch: int, value: float, graph: ModelGraph | None = None) -> Context:
    return Context(
        experiment="digits",
        moment=Moment(run="r", hook="epoch_end", phase="group/pretrain", epoch=epoch),
        graph=graph,
        metrics={"val_loss": value},
    )


def run(
    stopping: EarlyStopping, values: list[float], graph: ModelGraph | None = None, first: int = 0
) -> Context:
    """The epochs from `first` on, each trained, up to the stop or the last; the context of the last one."""
    context = end_of(first - 1, math.nan, graph)
    if first == 0:
        stopping.on_phase_start(context)
    for epoch, value in enumerate(values[first:], first):
        if graph is not None:
            train_one_epoch(graph)
        context = end_of(epoch, value, graph)
        stopping.on_epoch_end(context)
        if context.stop_reason:
            break
    return context


def digest(graph: ModelGraph) -> str:
    return state.digest(state.capture(graph))


def test_training_stops_after_patience_epochs_without_improvement_and_says_why():
    context = run(EarlyStopping("val_loss", 2), [3.0, 1.0, 2.0, 1.0, 0.0])
    assert context.moment.epoch == 3
    assert context.stop_reason == "val_loss has not improved for 2 epochs: best 1 in epoch 1, now 1"


@pytest.mark.parametrize(
    ("options", "values", "stops_at", "best_epoch"),
    [
        ({"direction": "max"}, [0.1, 0.5, 0.4, 0.3], 3, 1),
        ({"min_delta": 0.5}, [3.0, 2.8, 2.5, 2.4], 2, 0),
        ({}, [math.nan, 2.0, math.nan, math.nan], 3, 1),
        ({}, [math.nan, math.nan, 1.0], 1, None),
        ({}, [math.inf, 1.0, -math.inf, math.inf, math.inf], 4, 2),
        ({}, [3.0, 2.0, 1.0], None, 2),
    ],
)
def test_what_counts_as_improvement(options, values, stops_at, best_epoch):
    stopping = EarlyStopping("val_loss", 2, **options)
    context = run(stopping, values)
    assert (context.moment.epoch if context.stop_reason else None) == stops_at
    assert stopping.stopped == (stops_at is not None)
    assert stopping.best_epoch == best_epoch


@pytest.mark.parametrize(
    "values", [[3.0, 1.0, 2.0, 2.0, 2.0], [3.0, 1.0, 2.0]], ids=["stopped", "ran out of epochs"]
)
def test_the_phase_ends_with_the_best_epoch_optimizer_included(values):
    graph, reference = build(), build()
    for _ in range(2):
        train_one_epoch(reference)
    stopping = EarlyStopping("val_loss", 3)
    stopping.on_phase_end(run(stopping, values, graph))
    assert digest(graph) == digest(reference)


def test_without_restore_best_the_last_epoch_stays_and_no_copy_is_kept():
    graph, reference = build(), build()
    for _ in range(3):
        train_one_epoch(reference)
    stopping = EarlyStopping("val_loss", 3, restore_best=False)
    stopping.on_phase_end(run(stopping, [1.0, 2.0, 3.0], graph))
    assert digest(graph) == digest(reference)
    assert stopping.get_state()["best_state"] is None


@pytest.mark.medium
@given(st.lists(st.sampled_from([1.0, 2.0, 3.0, math.nan]), min_size=1, max_size=6), st.data())
def test_resumed_at_any_epoch_it_decides_as_if_never_interrupted(values, data):
    cut = data.draw(st.integers(0, len(values)))
    complete, graph = EarlyStopping("val_loss", 2), build()
    expected = run(complete, values, graph)
    if expected.moment.epoch is not None and expected.moment.epoch < cut:
        return  # it had stopped before the cut

    first, interrupted = EarlyStopping("val_loss", 2), build()
    run(first, values[:cut], interrupted)
    saved = state.capture({"graph": interrupted, "stopping": first.get_state()})

    second, fresh = EarlyStopping("val_loss", 2), build(seed=5)
    state.restore(saved, {"graph": fresh})
    second.set_state(state.rebuild(saved, saved.tree["stopping"]))
    actual = run(second, values, fresh, first=cut)

    if cut < len(values):
        assert actual.stop_reason == expected.stop_reason
    for stopping, live in ((complete, graph), (second, fresh)):
        stopping.on_phase_end(end_of(0, 0.0, live))
    assert digest(fresh) == digest(graph)


def test_a_restore_into_a_fresh_early_stopping_fills_it():
    first, graph = EarlyStopping("val_loss", 2), build()
    run(first, [2.0, 3.0], graph)
    second = EarlyStopping("val_loss", 2)
    state.restore(state.capture({"stopping": first}), {"stopping": second})
    assert (second.best, second.best_epoch, second.waited) == (2.0, 0, 1)
    second.on_phase_end(end_of(0, 0.0, graph))


def test_each_phase_starts_from_scratch():
    stopping = EarlyStopping("val_loss", 1)
    run(stopping, [0.0, 1.0], build())
    context = run(stopping, [5.0, 4.0])
    assert context.stop_reason is None
    assert stopping.best == 4.0


def test_a_metric_that_is_not_measured_is_named_with_those_that_are():
    with pytest.raises(
        UsageError, match="early stopping monitors 'val_los', and the phase measures val_loss"
    ):
        EarlyStopping("val_los", 1).on_epoch_end(end_of(0, 1.0))


@pytest.mark.parametrize(
    ("patience", "options", "message"),
    [
        (0, {}, "patience="),
        (True, {}, "patience="),
        (1.5, {}, "patience="),
        (1, {"direction": "down"}, "direction= must be 'min' or 'max', not 'down'"),
        (1, {"min_delta": -1.0}, "min_delta="),
        (1, {"min_delta": math.nan}, "min_delta="),
    ],
)
def test_options_without_a_meaning_are_refused(patience, options, message):
    with pytest.raises(UsageError, match=message):
        EarlyStopping("val_loss", patience, **options)


def test_early_stopping_runs_after_every_other_callback():
    mine, other, stopping = Callback(), Callback(), EarlyStopping("val_loss", 1)
    assert in_order([mine, stopping, other]) == [mine, other, stopping]


def test_the_first_reason_to_stop_stays():
    context = end_of(0, 1.0)
    context.stop("the loss is good enough")
    context.stop("another")
    assert context.stop_reason == "the loss is good enough"
    assert context.phase == "group/pretrain"
