"""A fit with dropout, batch normalisation, shuffling, validation, a schedule, and callbacks that remember."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras.callbacks import EarlyStopping, LambdaCallback, ReduceLROnPlateau

from holdfast import Checkpointing
from holdfast.integrations.keras import HoldfastCallback
from tests.support.integrations.acceptance import Ended

warnings.filterwarnings("ignore", module="keras")


def compiled(width: int = 8) -> keras.Model:
    keras.utils.clear_session()
    keras.utils.set_random_seed(3)
    layers = keras.layers
    model = keras.Sequential(
        [
            layers.Input((6,)),
            layers.Dense(width, "relu"),
            layers.BatchNormalization(),
            layers.Dropout(0.3),
            layers.Dense(1),
        ]
    )
    model.compile("adamw", "mse", metrics=["mae"])
    return model


def fit(model: keras.Model, callbacks: Sequence[Any], **options: Any) -> keras.callbacks.History:
    x = np.random.default_rng(0).normal(size=(44, 6)).astype("float32")
    y = x.sum(1, keepdims=True)
    given = {"epochs": 4, "batch_size": 4, "validation_split": 0.1, "verbose": 0, **options}
    remembering = [
        EarlyStopping("val_loss", patience=3),
        ReduceLROnPlateau("val_mae", patience=0, min_lr=1e-5),
    ]
    return model.fit(x, y, callbacks=[*callbacks, *remembering], **given)


def train(directory: Path, policy: Checkpointing, beat: Callable[[], None]) -> Ended:
    callback = HoldfastCallback(directory, checkpointing=policy)
    beats = LambdaCallback(on_train_batch_begin=lambda batch, logs=None: beat())
    fit(compiled(), [callback, beats])
    return Ended(callback.state_digest(), callback.last_resume)
