"""Keras on torch: what `keras_fit` trains."""

from __future__ import annotations

import os

os.environ["KERAS_BACKEND"] = "torch"

from tests.support.integrations.cases.keras_fit import train as train

NEEDS = ("keras", "torch")
