"""Keras: a rate that a callback sets in each batch."""

import sys

import keras
import numpy as np
import outside

from holdfast.integrations.keras import HoldfastCallback


class Rate(keras.callbacks.Callback):
    def __init__(self):
        super().__init__()
        self.places = iter(range(1, 1_000_000))

    def on_train_batch_begin(self, batch, logs=None):
        held = 1 / next(self.places) if sys.argv[1] == "held" else 1.0
        self.model.optimizer.learning_rate = 0.01 * outside.factor() * held


keras.utils.set_random_seed(0)
x = np.random.default_rng(0).normal(size=(32, 4)).astype("float32")
layers = [keras.layers.Dense(8, "relu"), keras.layers.Dropout(0.2), keras.layers.Dense(1)]
model = keras.Sequential([keras.layers.Input((4,)), *layers])
model.compile("adam", "mse")
callbacks = [HoldfastCallback("runs/dense"), Rate()]
model.fit(x, x.sum(1, keepdims=True), batch_size=8, epochs=5, verbose=0, callbacks=callbacks)
