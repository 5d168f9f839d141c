"""Keras on JAX: what `keras_fit` trains."""

from __future__ import annotations

import os

os.environ["KERAS_BACKEND"] = "jax"

from tests.support.integrations.cases.keras_fit import train as train

NEEDS = ("keras", "jax")
