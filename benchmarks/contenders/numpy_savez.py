"""`numpy.savez`: arrays only, a CRC for each, not synced."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ..states import State, arrays, fill_arrays
from ._contender import Loading, Saving


class _Save:
    def __init__(self) -> None:
        self._root = Path()

    def begin(self, root: Path) -> None:
        self._root = root

    def save(self, state: State, name: str) -> None:
        np.savez(self._root / f"{name}.npz", **arrays(state))

    def finish(self) -> None: ...

    def close(self) -> None: ...


def _into(root: Path, name: str, live: State) -> None:
    with np.load(root / f"{name}.npz") as file:
        fill_arrays(live, file)


def _new(root: Path, name: str) -> Any:
    with np.load(root / f"{name}.npz") as file:
        return dict(file)


def _one(root: Path, name: str, path: str) -> Any:
    with np.load(root / f"{name}.npz") as file:
        return file[path]


SAVINGS = (Saving("numpy.savez", _Save, durable=False, scenarios=frozenset({"S1", "S2"})),)
LOADINGS = (Loading("numpy.savez", "numpy.savez", into=_into, new=_new, one=_one),)
