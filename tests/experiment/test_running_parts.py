"""Groups, single phases, previews, fitting, and checkpoints made by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

import holdfast
from holdfast import (
    Callback,
    Checkpointing,
    Dataset,
    EvalPhase,
    Experiment,
    FitPhase,
    Loss,
    Metric,
    ModelGraph,
    ModelNode,
    PhaseGroup,
    TrainPhase,
    rng,
    state,
)
from holdfast.errors import HoldfastError, PlanMismatchError, UsageError


def data() -> Dataset:
    draw = np.random.default_rng(0)
    label = draw.integers(2, size=64)
    return Dataset(x=(draw.normal(size=(64, 4)) + label[:, None]).astype("f4"), label=label)


LOSS = Loss("loss", torch.nn.functional.cross_entropy, output="net", target="label")


def experiment(directory: Path | None = None, callbacks: tuple[Callback, ...] = ()) -> Experiment:
    rng.seed_everything(0)
    net = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Dropout(0.5), torch.nn.Linear(8, 2))
    graph = ModelGraph(
        [
            ModelNode("net", net, inputs="x"),
            ModelNode("regression", LogisticRegression(), inputs="x", method="predict"),
        ],
        optimizer=lambda parameters: torch.optim.Adam(parameters, lr=0.01),
    )
    made = Experiment("parts", graph, directory=directory, callbacks=callbacks)
    accuracy = Metric(
        "accuracy", lambda labels, found: float((labels == found).mean()), output="regression", target="label"
    )
    return made.add(
        PhaseGroup("warm", [train("a"), PhaseGroup("inner", [train("b"), train("c")])]),
        FitPhase("fit", node="regression", data=data(), target="label", metrics=[accuracy]),
        EvalPhase("test", data=data(), losses=[LOSS], metrics=[accuracy], predictions=["net", "regression"]),
    )


def train(label: str, **options) -> TrainPhase:
    return TrainPhase(label, data=data(), losses=[LOSS], n_epochs=2, batch_size=16, **options)


def digest(made: Experiment) -> str:
    return state.digest(state.capture({"graph": made.graph, "random": rng.capture_state()}))


class Fails(Callback):
    def __init__(self, error: type[BaseException]) -> None:
        self.error = error

    def on_epoch_end(self, context) -> None:
        if context.moment.epoch == 1:
            raise self.error("as asked")


def test_groups_run_in_order_and_results_have_their_paths():
    made = experiment()
    results = made.run(progress=False)
    assert list(results) == ["warm/a", "warm/inner/b", "warm/inner/c", "fit", "test"]
    assert results.status == "complete"
    frame = results.to_pandas()
    assert list(frame["phase"].unique()) == list(results)
    assert len(frame) == 8


def test_a_fitted_estimator_and_predictions_are_in_the_results():
    results = experiment().run(progress=False)
    assert results["fit"].last["accuracy"] > 0.8
    assert results["test"].last["accuracy"] == results["fit"].last["accuracy"]
    predictions = results["test"].predictions
    assert predictions is not None
    assert predictions["net"].shape == (64, 2)
    assert predictions["regression"].shape == (64,)


def test_a_group_or_a_phase_can_be_run_alone():
    made = experiment()
    assert list(made.run_group("inner", progress=False)) == ["inner/b", "inner/c"]
    before = digest(made)
    assert len(made.run_phase("a", progress=False)) == 2
    assert digest(made) != before
    assert [(entry.what, entry.status) for entry in made.history] == [
        ("inner", "complete"),
        ("a", "complete"),
    ]
    with pytest.raises(UsageError, match="run_group"):
        made.run_phase("warm")
    with pytest.raises(UsageError, match="there is no 'z' in the plan"):
        made.run_phase("z")


@pytest.mark.parametrize("unit", ["a", "inner", "fit"])
def test_a_preview_puts_everything_back(unit):
    made = experiment()
    before = digest(made)
    shown = made.preview_phase(unit) if unit != "inner" else made.preview_group(unit)["inner/b"]
    assert shown.last
    assert digest(made) == before
    assert made.history == []


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_a_preview_that_fails_puts_everything_back_too(error):
    made = experiment()
    made.run_phase("a", progress=False)
    before = digest(made)
    with pytest.raises(error):
        made.preview_phase(train("d", freeze=["net"] if error is RuntimeError else [], step=_fail(error)))
    assert digest(made) == before
    assert made.graph is not None
    assert made.graph.frozen == ()


def _fail(error: type[BaseException]):
    def step(graph, batch):
        torch.rand(1)
        with torch.no_grad():
            for parameter in graph.parameters():
                parameter += 1
        raise error("as asked")

    return step


@pytest.mark.parametrize(("error", "status"), [(RuntimeError, "failed"), (KeyboardInterrupt, "interrupted")])
def test_a_run_that_fails_is_in_the_history_with_its_reason(error, status):
    made = experiment(callbacks=(Fails(error),))
    with pytest.raises(error):
        made.run(progress=False)
    [entry] = made.history
    assert (entry.what, entry.status) == ("experiment", status)
    assert entry.reason is not None
    assert "as asked" in entry.reason
    assert made.results["warm/a"].status == "failed"


def test_going_back_manually_rolls_back_models_results_and_random_states(tmp_path):
    made = experiment(tmp_path)
    made.run_phase("a", progress=False)
    path = made.save_checkpoint("after a")
    before = made.state_digest()
    made.run_phase("b", progress=False)
    torch.rand(5)
    assert made.state_digest() != before
    for place in ("after a", path):
        made.restore_checkpoint(place).close()
        assert made.state_digest() == before
        assert list(made.results) == ["a"]
        assert [entry.what for entry in made.history] == ["a"]
    assert list(made.available_checkpoints) == ["after a"]
    with pytest.raises(HoldfastError, match="there is no checkpoint"):
        made.restore_checkpoint("before a")


def test_another_script_takes_over_a_checkpoint_made_manually(tmp_path):
    made = experiment(tmp_path)
    made.run(progress=False)
    made.save_checkpoint("all")
    other = experiment(tmp_path)
    other.restore_checkpoint("all").close()
    assert other.state_digest() == made.state_digest()


def test_checkpointing_can_be_switched_off_for_a_while_or_for_good(tmp_path):
    made = experiment(tmp_path)
    made.set_checkpointing(Checkpointing(mode="disk", save_on=["phase_end"], directory=tmp_path))
    with made.disable_checkpointing():
        made.run(progress=False)
    assert made.available_checkpoints == {}
    made.run(progress=False)
    assert list(made.available_checkpoints) == ["a", "b", "c", "fit", "test"]
    made.disable_checkpointing()
    count = len(holdfast.scan(tmp_path))
    made.run(progress=False)
    assert [listed.record.seq for listed in holdfast.scan(tmp_path) if listed.record] == [1, 2, 3, 4, 5]
    assert count == 5


def test_the_experiments_own_hooks_have_their_names(tmp_path):
    made = experiment(tmp_path)
    hooks = ["experiment_start", "experiment_end", "group_start", "group_end", "phase_start", "phase_end"]
    made.set_checkpointing(Checkpointing(mode="disk", save_on=hooks, directory=tmp_path))
    made.run(progress=False)
    assert list(made.available_checkpoints) == [
        *(
            "START",
            "warm_start",
            "a_start",
            "a",
            "inner_start",
            "b_start",
            "b",
            "c_start",
            "c",
            "inner",
            "warm",
        ),
        *("fit_start", "fit", "test_start", "test", "END"),
    ]
    with holdfast.open(made.available_checkpoints["b"]) as checkpoint:
        phases = checkpoint["results"]["phases"]
        assert list(phases) == ["warm/a", "warm/inner/b"]
        assert phases["warm/inner/b"]["status"] == "complete"


def test_a_checkpoint_of_another_experiment_is_refused_and_nothing_changes(tmp_path):
    made = experiment(tmp_path)
    made.run_phase("a", progress=False)
    path = made.save_checkpoint("after a")
    other = Experiment("other", made.graph, directory=tmp_path / "other")
    before = digest(other)
    with pytest.raises(PlanMismatchError, match="of experiment 'parts', and this is 'other'"):
        other.restore_checkpoint(path)
    assert digest(other) == before
    assert other.history == []
    more = experiment(tmp_path, callbacks=(Callback(),))
    with pytest.raises(PlanMismatchError, match="experiment had 0 callbacks and has 1"):
        more.restore_checkpoint(path)
