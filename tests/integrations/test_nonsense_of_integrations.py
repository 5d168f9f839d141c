"""Integrations refuse at construction what makes no sense."""

from __future__ import annotations

import importlib

import pytest

from holdfast.errors import UsageError


def face(name: str):
    if name == "keras":
        import os

        os.environ.setdefault("KERAS_BACKEND", "torch")
    pytest.importorskip(name)
    return importlib.import_module(f"holdfast.integrations.{name}")


@pytest.mark.parametrize("name", ["lightning", "keras"])
@pytest.mark.parametrize(
    ("directory", "options", "message"),
    [
        (3, {}, "directory must be a path, not 3"),
        ("s3://bucket/x", {}, "is a URL"),
        ("runs", {"label": "a/b"}, "label"),
        ("runs", {"share_directory": 1}, "share_directory must be True or False"),
        ("runs", {"on_rollback": 3}, "on_rollback"),
    ],
)
def test_a_callback_is_refused_when_it_is_made(name, directory, options, message):
    callback = face(name).HoldfastCallback
    with pytest.raises(UsageError, match=message):
        callback(directory, **options)


def test_the_storage_of_lightning_knows_its_durabilities():
    with pytest.raises(UsageError, match="Invalid durability"):
        face("lightning").HoldfastCheckpointIO(durability="x")


@pytest.mark.parametrize("name", ["accelerate", "transformers"])
def test_hold_takes_what_it_says(name):
    with pytest.raises(UsageError, match=r"hold\(\) takes an? \w+\.\w+, not 3"):
        face(name).hold(3)


@pytest.mark.parametrize(("name", "kind"), [("xgboost", "DMatrix"), ("lightgbm", "Dataset")])
def test_boosting_takes_data_and_a_number_of_rounds(name, kind, tmp_path):
    train = face(name).train
    with pytest.raises(UsageError, match=rf"must be an? {name}\.{kind}, not 3"):
        train({}, 3, tmp_path)


def test_a_resumed_booster_of_lightgbm_tells_all_of_its_rounds(tmp_path):
    lightgbm = pytest.importorskip("lightgbm")
    import numpy as np

    from holdfast import Checkpointing

    x = np.random.default_rng(0).normal(size=(60, 3))

    def crash(env):
        if env.iteration == 4:
            raise RuntimeError

    def train(directory, *callbacks):
        data = lightgbm.Dataset(x, x.sum(1), free_raw_data=False)
        policy = Checkpointing(save_on="batch_end")
        options = {"num_boost_round": 12, "checkpointing": policy, "callbacks": callbacks}
        return face("lightgbm").train({"verbose": -1}, data, directory, **options)

    with pytest.raises(RuntimeError):
        train(tmp_path / "a", crash)
    resumed, uninterrupted = train(tmp_path / "a").booster, train(tmp_path / "b").booster
    assert "[num_iterations: 12]" in resumed.model_to_string()
    assert resumed.model_to_string() == uninterrupted.model_to_string()
