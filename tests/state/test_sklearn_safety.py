"""What does not fit or cannot be saved is told by name, and no name in a file leads anywhere else."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pytest
import scipy.stats
from sklearn import (
    cluster,
    compose,
    linear_model,
    model_selection,
    preprocessing,
    svm,
)
from sklearn.base import BaseEstimator, clone
from sklearn.pipeline import make_pipeline

from holdfast.errors import RestoreIncompleteError, StateMismatchError, UnsupportedStateError
from holdfast.records import Node, Object
from holdfast.state import capture, digest, restore
from tests.support.sklearn_cases import ESTIMATORS, Centred, Times, X, fitted, through_a_bundle


def squared(x: Any, times: int = 1) -> Any:
    return times * x**2


def cubed(x: Any) -> Any:
    return x**3


MISFITS: dict[str, tuple[BaseEstimator, BaseEstimator, str]] = {
    "another class": (svm.SVC(), svm.NuSVC(), "m: a sklearn.svm.SVC was saved, the live object is a"),
    "a parameter": (svm.SVC(C=2), svm.SVC(C=3), "m/C: 2 was saved, the live parameter is 3"),
    "an array": (
        cluster.KMeans(1, init=X[:1], n_init=1),
        cluster.KMeans(1, init=X[1:2], n_init=1),
        "m/init: ",
    ),
    "a step": (
        make_pipeline(svm.SVC()),
        make_pipeline(svm.SVC(C=2)),
        "m/steps/0/1/C: 1.0 was saved, the live parameter is 2",
    ),
    "a step of another class": (
        make_pipeline(svm.SVC()),
        make_pipeline(svm.SVR()),
        "m/steps/0/0: 'svc' was saved, the live parameter is 'svr'",
    ),
    "one step more": (
        make_pipeline(svm.SVC()),
        make_pipeline(preprocessing.Normalizer(), svm.SVC()),
        "m/steps: ",
    ),
    "a function": (
        preprocessing.FunctionTransformer(np.log1p),
        preprocessing.FunctionTransformer(np.log),
        "m/func: <ufunc 'log1p'> was saved",
    ),
    "a function of the user's": (
        preprocessing.FunctionTransformer(squared),
        preprocessing.FunctionTransformer(cubed),
        "m/func: tests.state.test_sklearn_safety.squared was saved",
    ),
    "a function, in a list": (
        model_selection.GridSearchCV(preprocessing.FunctionTransformer(), {"func": [squared, np.log]}),
        model_selection.GridSearchCV(preprocessing.FunctionTransformer(), {"func": [cubed, np.log]}),
        "m/param_grid/func/0: tests.state.test_sklearn_safety.squared was saved",
    ),
    "arguments of a function": (
        preprocessing.FunctionTransformer(partial(squared, times=1)),
        preprocessing.FunctionTransformer(partial(squared, times=2)),
        "m/func/keywords/times: 1 was saved",
    ),
    "no function": (
        preprocessing.FunctionTransformer(squared),
        preprocessing.FunctionTransformer(None),
        "m/func: tests.state.test_sklearn_safety.squared was saved, the live parameter is None",
    ),
    "a family of distributions": (
        model_selection.RandomizedSearchCV(svm.SVC(), {"C": scipy.stats.uniform(1, 2)}),
        model_selection.RandomizedSearchCV(svm.SVC(), {"C": scipy.stats.norm(1, 2)}),
        "m/param_distributions/C/family: scipy.stats.uniform was saved",
    ),
    "arguments of a distribution": (
        model_selection.RandomizedSearchCV(svm.SVC(), {"C": scipy.stats.uniform(1, 2)}),
        model_selection.RandomizedSearchCV(svm.SVC(), {"C": scipy.stats.uniform(1, 3)}),
        "m/param_distributions/C/arguments/1: 2 was saved",
    ),
    "attributes of an object that stands for a function": (
        preprocessing.FunctionTransformer(Times(2)),
        preprocessing.FunctionTransformer(Times(3)),
        "m/func/factor: 2 was saved",
    ),
    "a selector of columns": (
        compose.make_column_transformer(("drop", compose.make_column_selector("a"))),
        compose.make_column_transformer(("drop", compose.make_column_selector("b"))),
        "m/transformers/0/2/pattern: 'a' was saved",
    ),
    "no object": (
        compose.TransformedTargetRegressor(svm.SVR()),
        compose.TransformedTargetRegressor(),
        "m/regressor: a sklearn.svm.SVR was saved, the live object is None",
    ),
    "a random generator": (
        svm.SVC(random_state=1),
        svm.SVC(random_state=np.random.RandomState(1)),
        "m/random_state",
    ),
}


@pytest.mark.parametrize("case", MISFITS)
def test_other_parameters_are_told_by_name_and_nothing_is_changed(case):
    saved, live, message = MISFITS[case]
    before = digest(capture(live))
    with pytest.raises(StateMismatchError) as caught:
        restore(capture({"m": saved}), {"m": live})
    assert any(problem.startswith(message) for problem in caught.value.problems), caught.value
    assert digest(capture(live)) == before


class Holder(BaseEstimator):
    """Learns whatever it is given."""

    def fit(self, learned: Any) -> Holder:
        self.learned_ = learned
        return self


class Unknown:
    def method(self) -> None: ...


class Uniform(scipy.stats.rv_continuous):
    """By the name of one of SciPy's."""


class Named(tuple):
    __slots__ = ()


REFUSED: dict[str, tuple[BaseEstimator, str, str]] = {
    "a lambda that no parameter holds": (Holder().fit(lambda x: x), "m/learned_", "<lambda>"),
    "a function of the user's": (Holder().fit(through_a_bundle), "m/learned_", "through_a_bundle"),
    "a method of an object": (Holder().fit(Unknown().method), "m/learned_", "method"),
    "a function of Python": (Holder().fit(eval), "m/learned_", "function eval"),
    "a class": (Holder().fit([Unknown]), "m/learned_/0", "class .*Unknown"),
    "an unknown object": (Holder().fit(Unknown()), "m/learned_", "Unknown"),
    "objects in an array": (Holder().fit(np.array(["a", Unknown()], object)), "m/learned_/1", "Unknown"),
    "a class that is not a parameter": (Holder().fit(Centred()), "m/learned_", "Centred"),
    "a kind of tuple": (Holder().fit(Named((1,))), "m/learned_", "Named"),
    "a distribution of the user's": (
        Holder().fit(Uniform(name="uniform")(1)),
        "m/learned_/family",
        "distribution .*uniform",
    ),
    "a cycle": (Holder().fit([]), "m/learned_/0", "contains itself"),
}
REFUSED["a cycle"][0].learned_.append(REFUSED["a cycle"][0].learned_)


@pytest.mark.parametrize("case", REFUSED)
def test_what_could_not_be_made_again_is_refused_by_name_when_it_is_saved(case):
    estimator, path, kind = REFUSED[case]
    with pytest.raises(UnsupportedStateError, match=kind) as caught:
        capture({"m": estimator})
    assert caught.value.path == path


def test_another_version_of_the_framework_is_a_warning(caplog):
    snapshot = capture({"m": fitted("Ridge")})
    older = replace(snapshot.tree["m"], about={"sklearn": "1.4.0"})
    with caplog.at_level(logging.WARNING, "holdfast"):
        restore(snapshot, {"m": linear_model.Ridge()})
        assert not caplog.messages
        restore(snapshot, {"m": linear_model.Ridge()}, tree={"m": older})
    assert "saved with scikit-learn 1.4.0" in caplog.text


# Forged states


def replaced(node: Node, adapter: str, by: Object) -> Node:
    """`node` with every object of an adapter replaced."""
    match node:
        case Object() if node.adapter == adapter:
            return by
        case Object():
            return replace(node, state=replaced(node.state, adapter, by))
        case dict():
            return {key: replaced(entry, adapter, by) for key, entry in node.items()}
        case list():
            return [replaced(entry, adapter, by) for entry in node]
        case _:
            return node


FORGED: dict[str, tuple[str, str, Object]] = {
    "a class of the standard library": (
        "TweedieRegressor",
        "sklearn.call",
        Object("sklearn.call", "os.system", ["ls"]),
    ),
    "a function elsewhere": (
        "SelectKBest",
        "sklearn.function",
        Object("sklearn.function", "os.system", None),
    ),
    "a function of another table": (
        "SelectKBest",
        "sklearn.function",
        Object("sklearn.function", "sklearn.svm.SVC", None),
    ),
    "a class elsewhere": (
        "a forest for texts as labels",
        "sklearn.tree",
        Object("sklearn.object", "subprocess.Popen", {"args": "ls"}),
    ),
    "a tree of nothing": ("a forest for texts as labels", "sklearn.tree", Object("sklearn.tree", "Tree", {})),
    "a family of distributions elsewhere": (
        "a random search",
        "sklearn.distribution",
        Object(
            "sklearn.distribution", "scipy.stats.rv_frozen", {"family": None, "arguments": (), "keywords": {}}
        ),
    ),
    "a family that is none": (
        "a random search",
        "sklearn.family",
        Object("sklearn.family", "scipy.stats.kendalltau", None),
    ),
    "a spline without coefficients": (
        "SplineTransformer",
        "sklearn.spline",
        Object(
            "sklearn.spline",
            "scipy.interpolate.BSpline",
            {"t": [0.0, 1.0, 2.0], "c": [], "k": 3, "extrapolate": True, "axis": 0},
        ),
    ),
    "code that the live one does not hold": (
        "SelectKBest",
        "sklearn.function",
        Object("sklearn.live", "os.system", "system"),
    ),
    "a function learned that is the live one's": (
        "a forest for texts as labels",
        "sklearn.tree",
        Object("sklearn.live", "os.system", "system"),
    ),
    "a lost other self": (
        "a forest for texts as labels",
        "sklearn.tree",
        Object("sklearn.same", "Tree", "no"),
    ),
}


@pytest.mark.parametrize("case", FORGED)
def test_a_name_in_a_file_leads_to_nothing_but_the_tables(case):
    name, adapter, by = FORGED[case]
    snapshot = capture({"m": fitted(name)})
    with pytest.raises((StateMismatchError, RestoreIncompleteError)):
        restore(snapshot, {"m": clone(ESTIMATORS[name][0])}, tree=replaced(snapshot.tree, adapter, by))


def bent(field: str, value: int) -> Callable[[Any], None]:
    def bend(estimator: Any) -> None:
        state = estimator.tree_.__getstate__()
        nodes = state["nodes"].copy()
        nodes[field][0] = value
        estimator.tree_.__setstate__(state | {"nodes": nodes})

    return bend


def bent_histogram(field: str, value: int) -> Callable[[Any], None]:
    def bend(estimator: Any) -> None:
        estimator._predictors[0][0].nodes[field][0] = value

    return bend


@pytest.mark.parametrize(
    ("case", "bend"),
    [
        ("DecisionTreeClassifier", bent("left_child", 0)),
        ("DecisionTreeClassifier", bent("right_child", 10**6)),
        ("DecisionTreeClassifier", bent("feature", 4)),
        ("DecisionTreeClassifier", bent("feature", -7)),
        ("HistGradientBoostingClassifier", bent_histogram("left", 0)),
        ("HistGradientBoostingClassifier", bent_histogram("right", 10**6)),
        ("HistGradientBoostingClassifier", bent_histogram("feature_idx", 4)),
        ("histograms of categories", bent_histogram("bitset_idx", 100)),
    ],
)
def test_a_tree_that_would_lead_compiled_code_astray_is_not_let_in(case, bend):
    estimator = fitted(case)
    if case == "histograms of categories":
        estimator._predictors[0][0].nodes["is_categorical"][0] = 1
    bend(estimator)
    snapshot = capture({"m": estimator})
    with pytest.raises(RestoreIncompleteError, match=r"a node (uses|of a decision tree) "):
        restore(snapshot, {"m": clone(ESTIMATORS[case][0])})


def bent_birch(field: str, value: Any) -> Callable[[dict[str, Any]], None]:
    def bend(tree: dict[str, Any]) -> None:
        (tree if field == "chain" else tree["nodes"][0])[field] = value

    return bend


@pytest.mark.parametrize(
    "bend",
    [
        bent_birch("children", [0, 1]),
        bent_birch("children", [1, 1]),
        bent_birch("children", [1, 999]),
        bent_birch("chain", [1, 1]),
        bent_birch("chain", []),
        bent_birch("num_samples", [1] * 999),
    ],
)
def test_a_tree_of_clusters_that_a_walk_would_not_leave_is_not_let_in(bend):
    deep = cluster.Birch(n_clusters=None, branching_factor=2, threshold=0.01)
    snapshot = capture({"m": clone(deep).fit(X)})
    bend(snapshot.tree["m"].state["root_"].state)
    with pytest.raises(RestoreIncompleteError):
        restore(snapshot, {"m": clone(deep)})
