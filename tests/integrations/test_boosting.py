"""Boosting that was over: with more rounds it goes on, unless an early stopping had ended it."""

from __future__ import annotations

import numpy as np
import pytest

from holdfast import Checkpointing, errors

xgboost = pytest.importorskip("xgboost")


def boost(directory, rounds, *, patience, rule=None, metric=None):
    from holdfast.integrations.xgboost import train

    dice = np.random.default_rng(0)
    inputs = dice.normal(size=(120, 4)).astype("float32")
    noise = dice.normal(size=120)
    fit = xgboost.DMatrix(inputs[:80], inputs[:80, 0] + noise[:80])
    check = xgboost.DMatrix(inputs[80:], inputs[80:, 0] + noise[80:])
    return train(
        {"max_depth": 3, "nthread": 1, "seed": 1},
        fit,
        rounds,
        directory=directory,
        checkpointing=rule or Checkpointing(mode="disk", save_on="batch_end"),
        custom_metric=metric,
        evals=[(check, "check")],
        early_stopping_rounds=patience,
        verbose_eval=False,
    )


def test_all_rounds_done_with_an_early_stopping_that_did_not_act_go_on_when_there_are_more(tmp_path):
    boost(tmp_path / "twice", 3, patience=50)
    longer = boost(tmp_path / "twice", 6, patience=50)
    at_once = boost(tmp_path / "at once", 6, patience=50)
    assert longer.booster.num_boosted_rounds() == 6
    assert longer.booster.save_raw("ubj") == at_once.booster.save_raw("ubj")


def test_what_an_early_stopping_ended_stays_ended(tmp_path):
    ended = boost(tmp_path, 200, patience=2).booster.num_boosted_rounds()
    assert ended < 200
    assert boost(tmp_path, 300, patience=2).booster.num_boosted_rounds() == ended


def sick_after(rounds):
    def odd(predicted, data):
        nonlocal rounds
        rounds -= 1
        return "odd", 1.0 if rounds > 0 else float("nan")

    return odd


def test_rounds_whose_score_is_not_finite_stop_or_are_warned_of(tmp_path, caplog):
    def minding(what):
        return Checkpointing(mode="disk", save_on="batch_end", on_divergence=what)

    with pytest.raises(errors.DivergenceError, match="odd is nan"):
        boost(tmp_path / "stop", 9, patience=9, rule=minding("stop"), metric=sick_after(5))
    boost(tmp_path / "warn", 9, patience=9, rule=minding("warn"), metric=sick_after(5))
    assert "the run is diverging: odd is nan" in caplog.text
    with pytest.raises(errors.UsageError, match="the same rounds would come again"):
        boost(tmp_path / "back", 9, patience=9, rule=minding("rollback"))
