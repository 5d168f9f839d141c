"""scikit-learn in your own loop: `partial_fit` with a random state, and a forest that is grown by `warm_start`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from sklearn.ensemble import GradientBoostingRegressor
from sklearn.neural_network import MLPRegressor

from holdfast import Checkpointing, Dataset, Run
from tests.support.integrations.acceptance import Ended

NEEDS = ("sklearn",)


def train(directory: Path, policy: Checkpointing, beat: Callable[[], None]) -> Ended:
    x = np.random.default_rng(0).normal(size=(60, 5))
    data = Dataset({"x": x, "y": x.sum(1)})
    net = MLPRegressor(hidden_layer_sizes=(6,), random_state=0)
    forest = GradientBoostingRegressor(n_estimators=0, subsample=0.7, warm_start=True, random_state=1)
    with Run(directory, {"net": net, "forest": forest}, checkpointing=policy) as run:
        for _ in run.epochs(3):
            for batch in run.batches(data, batch_size=5, seed=2):
                beat()
                net.partial_fit(batch["x"], batch["y"])
                forest.set_params(n_estimators=run.step + 1).fit(x, data["y"])
                run.log(loss=net.loss_)
        return Ended(run.state_digest(), run.last_resume)
