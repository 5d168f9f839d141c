"""One of each kind of value, by framework: what makes it, so that two that differ can be made.

Each example is a function of a number, `0` and `1` giving values of the same kind and form that differ where they can.
"""

from __future__ import annotations

import argparse
import io
import os
import random
import socket
import threading
from collections import Counter, OrderedDict, UserDict, defaultdict, deque, namedtuple
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from enum import Enum
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import numpy as np

Example = Callable[[int], Any]

Pair = namedtuple("Pair", ("first", "second"))


@dataclass
class Result:
    loss: float


class Phase(Enum):
    WARM, MAIN = 0, 1


class WithState:
    def __init__(self, n: int) -> None:
        self.n = n

    def state_dict(self) -> dict[str, int]:
        return {"n": self.n}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.n = state["n"]


class Plain:
    def __init__(self, n: int) -> None:
        self.n = n


def _counted(n: int) -> Iterator[int]:
    yield n


PYTHON: dict[str, Example] = {
    "`int`, `float`, `complex`, `str`, `bytes`": lambda n: (n, n + 0.5, complex(n, 1), str(n), bytes([n])),
    "`date`, `timedelta`, `Path`, `Decimal`, `Fraction`, `UUID`": lambda n: (
        date(2024, 1, 1 + n), timedelta(n), Path(f"a/{n}"), Decimal(n), Fraction(n, 3), UUID(int=n)
    ),
    "`list`": lambda n: [n, [n]],
    "`dict`": lambda n: {"a": n, 2: n},
    "`set`": lambda n: {n, 7},
    "`OrderedDict`": lambda n: OrderedDict(a=n),
    "`defaultdict(int)`": lambda n: defaultdict(int, a=n),
    "`Counter`": lambda n: Counter("ab" * (n + 1)),
    "`deque`": lambda n: deque([n], maxlen=3),
    "`UserDict`": lambda n: UserDict(a=n),
    "`SimpleNamespace`": lambda n: SimpleNamespace(a=n),
    "`argparse.Namespace`": lambda n: argparse.Namespace(a=n),
    "a named tuple": lambda n: Pair(n, 2),
    "a dataclass": lambda n: Result(n / 2),
    "a member of an `Enum`": Phase,
    "`random.Random`": random.Random,
    "an object with `state_dict` and `load_state_dict`": WithState,
    "an object without a protocol": Plain,
    "a function": lambda n: lambda: n,
    "a class": lambda n: Plain,
    "a module": lambda n: random,
    "a generator": _counted,
    "an iterator of a list": lambda n: iter([n]),
    "a lock": lambda n: threading.Lock(),
    "a thread": lambda n: threading.Thread(),
    "a socket": lambda n: socket.socket(),
    "an open file": lambda n: io.FileIO("/dev/null"),
}  # fmt: skip


def _masked(n: int) -> Any:
    return np.ma.MaskedArray([n, 2.0], mask=[False, True])


def _structured(n: int) -> Any:
    return np.array([(n, 2.0)], dtype=[("a", "i4"), ("b", "f8")])


def _with_object_field(n: int) -> Any:
    return np.array([(n, "a")], dtype=[("a", "i4"), ("b", "O")])


NUMPY: dict[str, Example] = {
    "an array of numbers": lambda n: np.arange(3.0) + n,
    "an array of texts": lambda n: np.array(["a", str(n)]),
    "dates and time spans": lambda n: np.array([n], "datetime64[D]"),
    "an array of objects that are plain data": lambda n: np.array([n, "a", None], dtype=object),
    "a structured array": _structured,
    "a record array": lambda n: _structured(n).view(np.recarray),
    "a masked array": _masked,
    "a scalar": np.float32,
    "`Generator`": np.random.default_rng,
    "`RandomState`": np.random.RandomState,
    "a structured array with a field of objects": _with_object_field,
    "an array of objects that are functions": lambda n: np.array([print, n], dtype=object),
}


def pandas() -> dict[str, Example]:
    import pandas as pd

    return {
        "`DataFrame`": lambda n: pd.DataFrame({"a": [n, 2], "b": ["x", "y"]}),
        "`Series`": lambda n: pd.Series([n, 2.5]),
        "`Index`": lambda n: pd.Index([n, 5]),
        "`Categorical` columns": lambda n: pd.DataFrame({"a": pd.Categorical(["x", "yz"[n]])}),
        "`Timestamp` columns": lambda n: pd.Series(pd.to_datetime([f"2024-01-0{n + 1}"])),
        "`Timestamp`": lambda n: pd.Timestamp(f"2024-01-0{n + 1}"),
        "`Timedelta`": lambda n: pd.Timedelta(n + 1, "h"),
        "columns of periods": lambda n: pd.Series(pd.period_range("2024", periods=2 + n, freq="D")),
        "columns of intervals": lambda n: pd.Series(pd.interval_range(n, n + 2)),
        "sparse columns": lambda n: pd.Series(pd.arrays.SparseArray([0, n])),
    }


def scipy() -> dict[str, Example]:
    from scipy import sparse

    kinds = {"csr": sparse.csr_array, "csc": sparse.csc_array, "bsr": sparse.bsr_array, "coo": sparse.coo_array,
             "dok": sparse.dok_array, "lil": sparse.lil_array, "dia": sparse.dia_array}  # fmt: skip
    return {
        f"sparse arrays: `{name}`": lambda n, made=made: made(np.eye(3) * (n + 1))
        for name, made in kinds.items()
    }


def torch() -> dict[str, Example]:
    import torch

    def optimizer(n: int) -> Any:
        weight = torch.nn.Parameter(torch.ones(2) * (n + 1))
        made = torch.optim.AdamW([weight], lr=0.1 * (n + 1))
        weight.grad = torch.ones(2)
        made.step()
        return made

    def scheduler(n: int) -> Any:
        return torch.optim.lr_scheduler.StepLR(optimizer(n), step_size=n + 1)

    def quantised(n: int) -> Any:
        return torch.quantize_per_tensor(torch.ones(2), 0.1, n, torch.qint8)

    return {
        "a tensor": lambda n: torch.ones(3) * n,
        "a tensor of `bfloat16`": lambda n: torch.full((2,), n, dtype=torch.bfloat16),
        "a tensor of `float8_e4m3fn`": lambda n: torch.full((2,), n).to(torch.float8_e4m3fn),
        "a module": lambda n: torch.nn.Linear(2, 1),
        "an optimizer": optimizer,
        "a schedule": scheduler,
        "`GradScaler`": lambda n: torch.amp.GradScaler("cpu", init_scale=2.0 + n),
        "`Generator`": lambda n: torch.Generator().manual_seed(n),
        "a sparse tensor (COO)": lambda n: torch.eye(2).mul(n + 1).to_sparse(),
        "a sparse tensor (CSR)": lambda n: torch.eye(2).mul(n + 1).to_sparse_csr(),
        "a nested tensor": lambda n: torch.nested.nested_tensor(
            [torch.ones(2) * n, torch.ones(3)], layout=torch.jagged
        ),
        "a quantised tensor": quantised,
        "a tensor on the device `meta`": lambda n: torch.ones(2, device="meta"),
        "a `device` or `dtype`": lambda n: (torch.device("cpu"), torch.float32),
    }


def jax() -> dict[str, Example]:
    import flax.linen as linen
    import jax
    import jax.numpy as jnp
    import optax
    from flax import nnx
    from flax.core import FrozenDict

    return {
        "an array": lambda n: jnp.arange(3.0) + n,
        "a key": jax.random.key,
        "a dict of arrays": lambda n: {"w": jnp.ones(2) * n},
        "a state of optax": lambda n: optax.adam(0.1).init({"w": jnp.ones(2) * n}),
        "`nnx.Module`": lambda n: nnx.Linear(2, 1, rngs=nnx.Rngs(n)),
        "`nnx.State`": lambda n: nnx.state(nnx.Linear(2, 1, rngs=nnx.Rngs(n))),
        "`nnx.Param`": lambda n: nnx.Param(jnp.ones(2) * n),
        "`nnx.Rngs`": nnx.Rngs,
        "`FrozenDict`": lambda n: FrozenDict({"w": jnp.ones(2) * n}),
        "a `linen.Module`, which holds no arrays": lambda n: linen.Dense(2 + n),
        "a transformation of optax, which holds functions": lambda n: optax.adam(0.1),
    }


def sklearn() -> dict[str, Example]:
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.linear_model import SGDClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import FunctionTransformer, StandardScaler

    def fitted(estimator: Any, n: int) -> Any:
        x = np.arange(8.0).reshape(4, 2) + n
        return estimator.fit(x, [0, 1, 0, 1])

    return {
        "an estimator, fitted": lambda n: fitted(SGDClassifier(random_state=0), n),
        "an ensemble, fitted": lambda n: fitted(RandomForestClassifier(2, random_state=0), n),
        "a pipeline, fitted": lambda n: fitted(
            make_pipeline(StandardScaler(), SGDClassifier(random_state=0)), n
        ),
        "an estimator that is not fitted": lambda n: SGDClassifier(),
        "a function as its parameter": lambda n: FunctionTransformer(np.log1p),
    }


def keras() -> dict[str, Example]:
    os.environ.setdefault("KERAS_BACKEND", "torch")
    import keras

    def compiled(n: int) -> Any:
        model = keras.Sequential(
            [keras.layers.Input((2,)), keras.layers.Dense(1, name="dense")], name="model"
        )
        model.compile(keras.optimizers.Adam(name="adam"), "mse")
        return model

    return {
        "a model, compiled": compiled,
        "an optimizer by itself": lambda n: keras.optimizers.Adam(0.1 + n, name="adam"),
        "a `SeedGenerator`": lambda n: keras.random.SeedGenerator(n, name="seed"),
        "a metric by itself": lambda n: keras.metrics.Mean(),
    }


def boosting() -> dict[str, Example]:
    import lightgbm
    import xgboost

    x, y = np.arange(40.0).reshape(20, 2), np.arange(20) % 2

    def xgboosted(n: int) -> Any:
        return xgboost.train({"eta": 0.1 + n / 10, "verbosity": 0}, xgboost.DMatrix(x, y), 2)

    def lightgbmed(n: int) -> Any:
        options = {"verbosity": -1, "min_data_in_leaf": 1, "learning_rate": 0.1 + n / 10}
        return lightgbm.train(options, lightgbm.Dataset(x, y), 2)

    return {
        "a booster of XGBoost": xgboosted,
        "a booster of LightGBM": lightgbmed,
        "data of XGBoost (`DMatrix`)": lambda n: xgboost.DMatrix(x + n, y),
        "data of LightGBM (`Dataset`)": lambda n: lightgbm.Dataset(x + n, y),
    }


FRAMEWORKS: dict[str, Callable[[], dict[str, Example]]] = {
    "Python": lambda: PYTHON,
    "NumPy": lambda: NUMPY,
    "pandas": pandas,
    "SciPy": scipy,
    "torch": torch,
    "JAX, Flax, optax": jax,
    "Keras": keras,
    "scikit-learn": sklearn,
    "XGBoost, LightGBM": boosting,
}
