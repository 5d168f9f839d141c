"""Orbax, from NumPy arrays and from JAX arrays (made before the clock starts)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp

from ..states import State, arrays, fill_arrays
from ._contender import Loading, Saving


class _Async:
    def __init__(self, *, jax_arrays: bool) -> None:
        self._checkpointer = ocp.StandardCheckpointer()
        self._jax_arrays = jax_arrays
        self._made: tuple[int, Any] = (0, None)
        self._root = Path()

    def begin(self, root: Path) -> None:
        self._root = root

    def save(self, state: State, name: str) -> None:
        self._checkpointer.save((self._root / name).absolute(), self._tree(state))

    def _tree(self, state: State) -> Any:
        if not self._jax_arrays:
            return arrays(state)
        if self._made[0] != id(state):  # in the round that warms up
            self._made = id(state), {path: jax.numpy.array(array) for path, array in arrays(state).items()}
        return self._made[1]

    def finish(self) -> None:
        self._checkpointer.wait_until_finished()

    def close(self) -> None:
        self._checkpointer.close()


def _load(root: Path, name: str) -> Any:
    with ocp.StandardCheckpointer() as checkpointer:
        return checkpointer.restore((root / name).absolute())


SAVINGS = (
    Saving(
        "Orbax (NumPy)",
        lambda: _Async(jax_arrays=False),
        durable=False,
        scenarios=frozenset({"S1", "S3", "S6"}),
    ),
    Saving("Orbax (JAX)", lambda: _Async(jax_arrays=True), durable=False, scenarios=frozenset({"S1"})),
)
LOADINGS = (
    Loading(
        "Orbax (NumPy)",
        "Orbax (NumPy)",
        into=lambda root, name, live: fill_arrays(live, _load(root, name)),
        training=lambda root, name, training: fill_arrays(training.state_dicts(), _load(root, name)),
    ),
)
