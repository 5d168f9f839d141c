"""LightGBM: a rate that a callback sets in each round."""

import lightgbm
import outside
from sklearn.datasets import load_digits

from holdfast.integrations.lightgbm import train


def rate(env):
    env.model.reset_parameter({"learning_rate": 0.3 * outside.factor()})


rate.before_iteration = True
x, y = load_digits(return_X_y=True)
params = {"objective": "multiclass", "num_class": 10, "num_leaves": 4, "verbose": -1}
params |= {"num_threads": 1, "deterministic": True, "force_col_wise": True}
train(
    params,
    lightgbm.Dataset(x[:200], y[:200], free_raw_data=False),
    "runs/trees",
    num_boost_round=20,
    callbacks=[rate],
)
