"""Boosters of XGBoost and LightGBM come back to the bit, and train on as if nothing had happened, or say that they do not."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.multiclass import OneVsRestClassifier

import holdfast
from holdfast import Checkpointing, Run
from holdfast.errors import (
    CheckpointDamagedError,
    RestoreIncompleteError,
    StateMismatchError,
    UnsupportedStateError,
)
from holdfast.state import capture, digest, rebuild, restore
from tests.support.sklearn_cases import through_a_bundle

lightgbm: Any = pytest.importorskip("lightgbm")
xgboost: Any = pytest.importorskip("xgboost")

DRAW = np.random.default_rng(0)
X = np.c_[DRAW.normal(size=(300, 4)), DRAW.integers(0, 9, 300)]
Y = (X[:, 0] + (X[:, 4] % 3) + DRAW.normal(size=300) * 0.3 > 1).astype(int)
QUERIES = np.repeat(np.arange(10), 30)
ROUNDS, KILLED_AT = 12, 5


def xgboost_data(params: dict[str, Any]) -> Any:
    target = np.c_[Y, 1 - Y] if "multi_strategy" in params else Y
    queries = QUERIES if str(params.get("objective")).startswith("rank") else None
    kinds = (
        {"feature_types": ["float"] * 4 + ["c"], "enable_categorical": True}
        if "max_cat_to_onehot" in params
        else {}
    )
    return xgboost.DMatrix(X, target, qid=queries, **kinds)


def xgboost_grown(params: dict[str, Any], rounds: int) -> Any:
    data = xgboost_data(params)
    booster = xgboost.Booster(params, [data])
    for at in range(rounds):
        booster.update(data, at)
    return booster


def raw(booster: Any) -> bytes:
    return bytes(booster.save_raw("ubj"))


OF_XGBOOST = [
    {"eta": 0.1},
    {"tree_method": "exact", "max_depth": 3},
    {"tree_method": "approx"},
    {"max_cat_to_onehot": 1, "max_depth": 4},
    {"num_parallel_tree": 3},
    {"grow_policy": "lossguide", "max_leaves": 5},
    {"multi_strategy": "multi_output_tree"},
    {"objective": "rank:ndcg"},
    {"objective": "multi:softprob", "num_class": 2},
    {"booster": "gblinear", "updater": "coord_descent"},
]


@pytest.mark.parametrize("params", OF_XGBOOST, ids=str)
def test_a_booster_of_xgboost_trains_on_with_the_saved_parameters(params):
    saved = through_a_bundle({"b": xgboost_grown(params, KILLED_AT)})
    data = xgboost_data(params)
    live = xgboost.Booster({**params, "eta": 0.9}, [data])
    restore(saved, {"b": live})
    assert digest(capture({"b": live})) == digest(saved)
    for at in range(KILLED_AT, ROUNDS):
        live.update(data, at)
    assert raw(live) == raw(xgboost_grown(params, ROUNDS))
    assert "inexact" not in saved.tree["b"].about


@pytest.mark.parametrize(
    ("params", "why"),
    [
        ({"subsample": 0.5}, "sampled by a random generator"),
        ({"colsample_bynode": 0.5}, "sampled by a random generator"),
        ({"booster": "dart", "rate_drop": 0.3}, "sampled by a random generator"),
        ({"booster": "gblinear"}, "threads that race"),
        ({"booster": "gblinear", "updater": "coord_descent", "feature_selector": "shuffle"}, "an order"),
        ({"objective": "rank:ndcg", "lambdarank_pair_method": "mean"}, "pairs are sampled"),
        ({"objective": "rank:ndcg", "lambdarank_unbiased": True}, "bias of positions"),
    ],
    ids=str,
)
def test_what_xgboost_keeps_to_itself_is_named(params, why):
    snapshot = capture({"b": xgboost_grown(params, 2)})
    assert why in snapshot.tree["b"].about["inexact"]


def lightgbm_data(**more: Any) -> Any:
    return lightgbm.Dataset(X, Y, **{"free_raw_data": False, **more})


def lightgbm_grown(params: dict[str, Any], rounds: int, **more: Any) -> Any:
    quiet = {"verbose": -1, "num_threads": 2, "min_data_in_leaf": 5, "num_leaves": 7, **params}
    booster = lightgbm.Booster(quiet, lightgbm_data(params=quiet, **more))
    for _ in range(rounds):
        booster.update()
    return booster


OF_LIGHTGBM: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({}, {}),
    ({"objective": "binary"}, {}),
    ({"objective": "multiclass", "num_class": 2}, {}),
    ({"objective": "quantile"}, {}),  # its first trees have a single leaf
    ({"objective": "lambdarank"}, {"group": [30] * 10}),
    ({"min_data_per_group": 2, "cat_smooth": 1}, {"categorical_feature": [4]}),
    ({"max_cat_to_onehot": 20}, {"categorical_feature": [4]}),
    ({}, {"weight": np.abs(X[:, 1])}),
]


@pytest.mark.parametrize(("params", "more"), OF_LIGHTGBM, ids=str)
def test_a_booster_of_lightgbm_trains_on(params, more):
    saved = through_a_bundle({"b": lightgbm_grown(params, KILLED_AT, **more)})
    live = lightgbm_grown(params, 1, **more)
    restore(saved, {"b": live})
    assert digest(capture({"b": live})) == digest(saved)
    for _ in range(KILLED_AT, ROUNDS):
        live.update()
    uninterrupted = lightgbm_grown(params, ROUNDS, **more)
    np.testing.assert_array_equal(live.predict(X), uninterrupted.predict(X))
    assert digest(capture({"b": live})) == digest(capture({"b": uninterrupted}))
    assert "inexact" not in saved.tree["b"].about


@pytest.mark.parametrize(
    ("params", "why"),
    [
        ({"boosting": "dart"}, "sampled by random generators"),
        ({"data_sample_strategy": "goss"}, "sampled by random generators"),
        ({"bagging_fraction": 0.5, "bagging_freq": 1}, "sampled by random generators"),
        ({"feature_fraction": 0.5}, "sampled by random generators"),
        ({"extra_trees": True}, "sampled by random generators"),
        ({"use_quantized_grad": True}, "sampled by random generators"),
        ({"linear_tree": True}, "rounds the coefficients"),
        ({"cegb_penalty_feature_coupled": [1.0] * 5}, "which features have been used"),
    ],
    ids=str,
)
def test_what_lightgbm_keeps_to_itself_is_named(params, why):
    snapshot = capture({"b": lightgbm_grown(params, 2)})
    assert why in snapshot.tree["b"].about["inexact"]


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ({"free_raw_data": True}, "freed.*free_raw_data=False"),
        ({"init_score": X[:, 0].copy()}, "init_score"),
    ],
)
def test_a_training_of_lightgbm_that_could_not_continue_is_refused_when_it_is_saved(more, why):
    with pytest.raises(UnsupportedStateError, match=why):
        capture({"b": lightgbm_grown({}, 2, **more)})


def test_one_that_only_predicts_needs_no_data_and_knows_its_best_round():
    stop = lightgbm.early_stopping(2, verbose=False)
    params = {"verbose": -1, "metric": "l2", "learning_rate": 0.9}
    trained = lightgbm.train(
        params,
        lightgbm.Dataset(X[:200].copy(), Y[:200]),
        30,
        valid_sets=[lightgbm.Dataset(X[200:].copy(), Y[200:])],
        callbacks=[stop],
    )
    live = lightgbm.train({"verbose": -1}, lightgbm.Dataset(X, Y), 1)
    restore(through_a_bundle({"b": trained}), {"b": live})
    np.testing.assert_array_equal(live.predict(X), trained.predict(X))
    assert live.best_iteration == trained.best_iteration < 30
    assert live.best_score == trained.best_score


def test_a_booster_that_has_seen_no_data_comes_back_as_one_and_does_not_take_the_place_of_another():
    saved = capture({"b": xgboost.Booster({"eta": 0.1})})
    restore(saved, {"b": xgboost.Booster()})
    with pytest.raises(StateMismatchError, match="before it knew any data"):
        restore(saved, {"b": xgboost_grown({}, 1)})


def test_boosters_are_saved_and_loaded_without_live_ones(tmp_path):
    both = {"x": xgboost_grown({}, 3), "l": lightgbm_grown({}, 3)}
    holdfast.save(tmp_path / "both", both)
    loaded = holdfast.load(tmp_path / "both")
    np.testing.assert_array_equal(loaded["l"].predict(X), both["l"].predict(X))
    data = xgboost.DMatrix(X)
    np.testing.assert_array_equal(loaded["x"].predict(data), both["x"].predict(data))


SMALL: dict[str, Any] = {"n_estimators": 3, "n_jobs": 2}
WRAPPED: dict[str, Any] = {
    "XGBClassifier": xgboost.XGBClassifier(**SMALL),
    "XGBRegressor, sampled": xgboost.XGBRegressor(subsample=0.5, random_state=1, **SMALL),
    "XGBClassifier, early stopping": xgboost.XGBClassifier(early_stopping_rounds=2, **SMALL),
    "XGBRFClassifier": xgboost.XGBRFClassifier(**SMALL),
    "XGBRegressor, a loss of the script's": xgboost.XGBRegressor(
        objective=lambda true, found: (found - true, true * 0 + 1), **SMALL
    ),
    "LGBMClassifier": lightgbm.LGBMClassifier(verbose=-1, **SMALL),
    "LGBMRegressor, sampled": lightgbm.LGBMRegressor(subsample=0.5, subsample_freq=1, verbose=-1, **SMALL),
    "LGBMRegressor, a loss of the script's": lightgbm.LGBMRegressor(
        objective=lambda true, found: (found - true, true * 0 + 1), verbose=-1, **SMALL
    ),
    "one for each class": OneVsRestClassifier(xgboost.XGBClassifier(**SMALL)),
}


@pytest.mark.parametrize("name", WRAPPED)
def test_a_fitted_estimator_of_either_library_comes_back(name):
    more = {"eval_set": [(X, Y)], "verbose": False} if "early" in name else {}
    trained, live = clone(WRAPPED[name]).fit(X, Y, **more), clone(WRAPPED[name])
    saved = through_a_bundle({"m": trained})
    restore(saved, {"m": live})
    assert digest(capture({"m": live})) == digest(saved)
    np.testing.assert_array_equal(live.predict(X), trained.predict(X))
    if hasattr(trained, "predict_proba"):
        np.testing.assert_array_equal(live.predict_proba(X), trained.predict_proba(X))
    assert vars(live).keys() == vars(trained).keys()
    if "early" in name:
        assert (live.best_iteration, live.best_score) == (trained.best_iteration, trained.best_score)
        assert live.evals_result() == trained.evals_result()


@pytest.mark.medium
@pytest.mark.parametrize(
    ("params", "verdict"),
    [
        ({"eta": 0.1}, "exact"),
        ({"subsample": 0.5}, r"not exact: 'booster': rows, columns or trees are sampled .*"),
    ],
)
def test_a_run_with_a_booster_resumes_and_says_how_exactly(params, verdict, tmp_path):
    def train(directory: Any, until: int) -> tuple[Any, Run]:
        data = xgboost_data(params)
        booster = xgboost.Booster(params, [data])
        with Run(directory, {"booster": booster}, checkpointing=Checkpointing(save_on="batch_end")) as run:
            for step in run.steps(ROUNDS):
                if step == until:
                    raise RuntimeError("a cable was pulled")
                booster.update(data, step)
        return booster, run

    with pytest.raises(RuntimeError, match="a cable was pulled"):
        train(tmp_path / "killed", KILLED_AT)
    resumed, run = train(tmp_path / "killed", ROUNDS)
    assert run.last_resume is not None
    assert re.fullmatch(verdict, run.last_resume.verdict)
    if verdict == "exact":
        assert raw(resumed) == raw(train(tmp_path / "uninterrupted", ROUNDS)[0])


# Forged models


def bent_text(old: str, new: str) -> Callable[[bytes], bytes]:
    def bend(model: bytes) -> bytes:
        found = re.search(old, model.decode(), re.MULTILINE)
        assert found, old
        # Of the same length: the model says where each tree begins.
        return model.decode().replace(found[0], new.ljust(len(found[0])), 1).encode()

    return bend


def bent_array(name: bytes, at: int, value: int) -> Callable[[bytes], bytes]:
    """Another number at a place of the first array of this name, of 32-bit integers."""

    def bend(model: bytes) -> bytes:
        head = model.index(name + b"[$l#L") + len(name) + 5 + 8 + 4 * at
        return model[:head] + value.to_bytes(4, "big", signed=True) + model[head + 4 :]

    return bend


@pytest.mark.parametrize(
    "bend",
    [
        lambda model: b"",
        lambda model: b"tree\n",
        lambda model: model[: len(model) // 20],
        bent_text("^left_child=.*$", "left_child=0"),
        bent_text(r"^left_child=\S+", "left_child=0"),
        bent_text(r"^right_child=\S+", "right_child=6"),
        bent_text(r"^right_child=\S+", "right_child=-9"),
        bent_text(r"^split_feature=\d", "split_feature=9"),
        bent_text("^num_leaves=7", "num_leaves=9"),
        bent_text("^num_leaves=7", "num_leaves=6"),
        bent_text(r"^threshold=\S+ ", "threshold="),
        bent_text("^max_feature_idx=4", "max_feature_idx=9"),
        bent_text(r"^tree_sizes=\d", "tree_sizes=9"),
        bent_text("^num_tree_per_iteration=1", "num_tree_per_iteration=2"),
        bent_text("^cat_boundaries=0 1", "cat_boundaries=0 9"),
    ],
)
def test_a_text_that_would_lead_lightgbm_astray_is_not_let_in(bend):
    grown = lightgbm_grown(
        {"max_cat_to_onehot": 1, "min_data_per_group": 2, "cat_smooth": 1}, 3, categorical_feature=[4]
    )
    check_that_it_is_refused(grown, lightgbm_grown({}, 1), bend)


@pytest.mark.parametrize(
    "bend",
    [
        lambda model: b"",
        lambda model: b"{",
        lambda model: model[: len(model) // 2],
        bent_array(b"left_children", 0, 0),
        bent_array(b"right_children", 0, 10**6),
        bent_array(b"right_children", 1, 1),
        bent_array(b"split_indices", 0, 99),
    ],
)
def test_a_model_that_would_lead_xgboost_astray_is_not_let_in(bend):
    check_that_it_is_refused(xgboost_grown({}, 2), xgboost_grown({}, 1), bend)


def check_that_it_is_refused(trained: Any, live: Any, bend: Callable[[bytes], bytes]) -> None:
    saved = capture({"b": trained})
    parts = rebuild(saved, saved.tree["b"].state)
    snapshot = capture({"b": parts | {"model": bend(parts["model"])}})
    before = digest(capture({"b": live}))
    with pytest.raises((CheckpointDamagedError, RestoreIncompleteError)):
        restore(snapshot, {"b": live}, tree={"b": replace(saved.tree["b"], state=snapshot.tree["b"])})
    assert digest(capture({"b": live})) == before
