"""XGBoost: several rounds with an early stopping that watches; a metric called `loss`."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import xgboost

from holdfast import Checkpointing
from holdfast.integrations.xgboost import train as boost
from tests.support.integrations.acceptance import Ended

NEEDS = ("xgboost",)

warnings.filterwarnings("ignore", module="xgboost")


class Beats(xgboost.callback.TrainingCallback):
    def __init__(self, beat: Callable[[], None]) -> None:
        self.beat = beat

    def before_iteration(self, model, epoch, evals_log):
        self.beat()
        return False


def loss(predicted, data):
    return "loss", float(np.square(predicted - data.get_label()).mean())


def train(directory: Path, policy: Checkpointing, beat: Callable[[], None]) -> Ended:
    x = np.random.default_rng(0).normal(size=(80, 5))
    data, held_out = xgboost.DMatrix(x[:60], x[:60].sum(1)), xgboost.DMatrix(x[60:], x[60:].sum(1))
    done = boost(
        {"max_depth": 2, "eta": 0.2, "nthread": 1, "disable_default_eval_metric": True},
        *(data, directory),
        num_boost_round=30,
        checkpointing=policy,
        callbacks=[Beats(beat)],
        evals=[(held_out, "held")],
        custom_metric=loss,
        early_stopping_rounds=5,
        verbose_eval=False,
    )
    return Ended(done.state_digest(), done.last_resume)
