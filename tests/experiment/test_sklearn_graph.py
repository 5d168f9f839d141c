"""A graph with estimators in it is saved and put back like any other."""

from __future__ import annotations

import threading
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.compose import make_column_transformer
from sklearn.ensemble import GradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import SGDClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, KBinsDiscretizer, StandardScaler
from torch import nn

import holdfast
from holdfast import Checkpointing, Dataset, Experiment, FitPhase, ModelGraph, ModelNode, Write, state
from holdfast.errors import StateMismatchError, UnsupportedStateError

DRAW = np.random.default_rng(2)
Y = DRAW.integers(0, 2, 80)
DATA = {"x": (DRAW.normal(size=(80, 4)) + Y[:, None]).astype(np.float32), "y": Y}

CLASSIFIERS = {
    "a forest": partial(RandomForestClassifier, 10),
    "boosted trees": partial(GradientBoostingClassifier, n_estimators=5),
    "a linear model": SGDClassifier,
    "a network": MLPClassifier,
}


def build(classifier: str, *, seed: int = 0, **options: Any) -> ModelGraph:
    """A scaler, a torch layer over it, and a classifier over both."""
    torch.manual_seed(seed)
    columns = make_column_transformer((StandardScaler(), [0, 1]), remainder="passthrough")
    return ModelGraph(
        [
            ModelNode("columns", columns, "x"),
            ModelNode("body", nn.Linear(4, 3), "columns"),
            ModelNode("kind", CLASSIFIERS[classifier](random_state=0, **options), ["columns", "body"]),
        ],
        optimizer=lambda parameters: torch.optim.Adam(parameters),
    )


def fit(graph: ModelGraph) -> ModelGraph:
    graph.fit_node("columns", DATA)
    graph.fit_node("kind", DATA, "y")
    return graph


def answers(graph: ModelGraph) -> Any:
    with graph.evaluating():
        return graph.forward(DATA, ["kind"])["kind"]


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("classifier", CLASSIFIERS)
def test_a_fresh_graph_with_the_state_of_a_fitted_one_predicts_to_the_bit(classifier):
    fitted, fresh = fit(build(classifier)), build(classifier, seed=9)
    taken = fitted.get_state()
    for _ in range(2):  # what was taken can be put back again
        fresh.set_state(taken)
        assert state.digest(state.capture(fresh)) == state.digest(state.capture(fitted))
        assert np.array_equal(answers(fresh), answers(fitted))


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("classifier", CLASSIFIERS)
def test_a_fitted_graph_comes_back_from_disk(classifier, tmp_path):
    def experiment(graph: ModelGraph) -> Experiment:
        policy = Checkpointing(mode="disk", save_on="phase_end", write=Write(durability="process"))
        phases = (
            FitPhase("scale", node="columns", data=Dataset(**DATA)),
            FitPhase("learn", node="kind", data=Dataset(**DATA), target="y"),
        )
        return Experiment("fitted", graph, directory=tmp_path, checkpointing=policy).add(*phases)

    fitted, fresh, resumed = (build(classifier, seed=seed) for seed in (0, 9, 9))
    experiment(fitted).run()
    with holdfast.open(_bundle(tmp_path, "learn")) as checkpoint:
        assert "model_graph/columns/transformers_/0/1/mean_" in {leaf.path for leaf in checkpoint.leaves()}
        checkpoint.restore({"model_graph": fresh})
    assert np.array_equal(answers(fresh), answers(fitted))
    experiment(resumed).run(resume=True)
    assert np.array_equal(answers(resumed), answers(fitted))


def _bundle(directory: Path, name: str) -> Path:
    [found] = directory.rglob(f"{name}.ckpt.mml")
    return found


def test_a_state_in_memory_is_apart_from_the_estimators():
    graph = fit(build("a linear model"))
    taken, before = graph.get_state(), answers(graph)
    graph["kind"].model.partial_fit(DRAW.normal(size=(80, 7)).astype(np.float32), 1 - Y)
    assert not np.array_equal(graph["kind"].model.coef_, taken["kind"]["coef_"])
    graph.set_state(taken)
    assert np.array_equal(answers(graph), before)


def test_another_parameter_is_told_by_its_path_in_the_graph():
    fitted, other = fit(build("a forest")), build("a forest", max_depth=2)
    with pytest.raises(StateMismatchError, match="kind/max_depth: None was saved, the live parameter is 2"):
        other.set_state(fitted.get_state())


def test_an_estimator_that_cannot_be_kept_is_named_by_its_path_in_the_graph():
    graph = ModelGraph(
        [
            ModelNode(
                "odd",
                make_pipeline(KBinsDiscretizer(2), FunctionTransformer(kw_args={"lock": threading.Lock()})),
                "x",
            )
        ]
    )
    with pytest.raises(UnsupportedStateError, match=r"'odd/steps/1/1/kw_args/lock'"):
        graph.get_state()
