"""LightGBM: several rounds, and a metric called `loss`."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path

import lightgbm
import numpy as np

from holdfast import Checkpointing
from holdfast.integrations.lightgbm import train as boost
from tests.support.integrations.acceptance import Ended

NEEDS = ("lightgbm",)

warnings.filterwarnings("ignore", module="lightgbm|sklearn")


def loss(predicted, data):
    return "loss", float(np.square(predicted - data.get_label()).mean()), False


def train(directory: Path, policy: Checkpointing, beat: Callable[[], None]) -> Ended:
    x = np.random.default_rng(0).normal(size=(120, 5))
    data = lightgbm.Dataset(x[:90], x[:90].sum(1), free_raw_data=False)
    held = lightgbm.Dataset(x[90:], x[90:].sum(1), reference=data, free_raw_data=False)
    params = {"num_leaves": 4, "verbose": -1, "num_threads": 1, "deterministic": True, "metric": "None"}
    done = boost(
        params | {"force_col_wise": True},
        *(data, directory),
        num_boost_round=30,
        checkpointing=policy,
        callbacks=[lambda env: beat()],
        valid_sets=[held],
        feval=loss,
    )
    return Ended(done.state_digest(), done.last_resume)
