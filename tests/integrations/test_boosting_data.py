"""Boosted trees: what is given to learn from is compared at a resume, and a model to begin with is taken."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from holdfast import Checkpointing

INPUTS = np.random.default_rng(0).normal(size=(120, 4))
TARGETS = INPUTS[:, 0] + np.abs(INPUTS[:, 1])
LIBRARIES = ["xgboost", "lightgbm"]


def data_of(library: str, features: Any = INPUTS, **more: Any) -> Any:
    if library == "xgboost":
        xgboost = pytest.importorskip("xgboost")
        names = {"group": "group", "weight": "weight", "init_score": "base_margin"}
        return xgboost.DMatrix(features, TARGETS, **{names[name]: value for name, value in more.items()})
    lightgbm = pytest.importorskip("lightgbm")
    return lightgbm.Dataset(features, TARGETS, free_raw_data=False, **more)


def boosted(library: str, directory: Any, rounds: int, data: Any, model: Any = None) -> Any:
    policy = Checkpointing(save_on="batch_end")
    more: dict[str, Any] = {"checkpointing": policy, "num_boost_round": rounds}
    if library == "xgboost":
        from holdfast.integrations.xgboost import train

        return train({"nthread": 1}, data, directory, xgb_model=model, **more)
    from holdfast.integrations.lightgbm import train as train_lightgbm

    params = {"num_threads": 1, "deterministic": True, "force_col_wise": True, "verbose": -1}
    return train_lightgbm(params, data, directory, init_model=model, **more)


def bits(library: str, trained: Any) -> bytes:
    if library == "xgboost":
        return bytes(trained.booster.save_raw("ubj"))
    return trained.booster.predict(INPUTS, raw_score=True).tobytes()


def a_model(library: str) -> Any:
    if library == "xgboost":
        return pytest.importorskip("xgboost").train({"nthread": 1}, data_of(library), 3)
    return pytest.importorskip("lightgbm").train({"num_threads": 1, "verbose": -1}, data_of(library), 3)


CHANGES: list[tuple[dict[str, Any], dict[str, Any], str]] = [
    ({}, {"features": INPUTS * [1, 2, 1, 1]}, "the features have changed"),
    ({"weight": np.ones(120)}, {"weight": np.arange(1.0, 121)}, "the weights have changed"),
    ({}, {"weight": np.arange(1.0, 121)}, "the weights have changed"),
    ({"init_score": np.ones(120)}, {"init_score": np.zeros(120)}, "have changed"),
]


@pytest.mark.medium
@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize(("before", "after", "said"), CHANGES)
def test_other_data_are_named_at_a_resume(library, before, after, said, tmp_path):
    boosted(library, tmp_path, 3, data_of(library, **before))
    same = boosted(library, tmp_path, 5, data_of(library, **before))
    assert "have changed" not in str(same.last_resume.differences)
    other = boosted(library, tmp_path, 7, data_of(library, **after))
    assert said in str(other.last_resume.differences)


@pytest.mark.medium
@pytest.mark.parametrize("library", LIBRARIES)
def test_the_same_data_used_again_have_not_changed(library, tmp_path):
    data = data_of(library, weight=np.ones(120))
    boosted(library, tmp_path, 3, data)
    assert boosted(library, tmp_path, 5, data).last_resume.verdict == "exact"


@pytest.mark.medium
@pytest.mark.parametrize("library", LIBRARIES)
def test_a_model_to_begin_with_is_taken_and_compared(library, tmp_path):
    model = a_model(library)
    uninterrupted = boosted(library, tmp_path / "uninterrupted", 6, data_of(library), model)
    for rounds in (2, 4, 6):
        resumed = boosted(library, tmp_path / "resumed", rounds, data_of(library), model)
    assert resumed.last_resume.verdict == "exact"
    assert bits(library, resumed) == bits(library, uninterrupted)
    another = boosted(library, tmp_path / "resumed", 8, data_of(library))
    assert "the trees of" in another.last_resume.verdict
