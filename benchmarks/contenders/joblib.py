"""joblib, and plain pickle of protocol 5: both of NumPy arrays, both not synced."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import joblib

from ..states import State, as_numpy, fill_arrays
from ._contender import Loading, Saving


class _Save:
    def __init__(self, dump: Callable[[Any, Path], Any]) -> None:
        self._dump = dump
        self._root = Path()

    def begin(self, root: Path) -> None:
        self._root = root

    def save(self, state: State, name: str) -> None:
        self._dump(as_numpy(state), self._root / name)

    def finish(self) -> None: ...

    def close(self) -> None: ...


def _dump(value: Any, path: Path) -> None:
    with path.open("wb") as file:
        pickle.dump(value, file, protocol=5)


def _load(root: Path, name: str) -> Any:
    with (root / name).open("rb") as file:
        return pickle.load(file)


def _flat(value: Any, path: str = "") -> dict[str, Any]:
    if isinstance(value, dict | list | tuple):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        return {k: v for key, part in items for k, v in _flat(part, f"{path}/{key}".lstrip("/")).items()}
    return {path: value}


_WHERE = frozenset({"S1", "S2"})
SAVINGS = (
    Saving("joblib", lambda: _Save(joblib.dump), durable=False, scenarios=_WHERE),
    Saving("pickle 5 (NumPy)", lambda: _Save(_dump), durable=False, scenarios=_WHERE),
)
LOADINGS = (
    Loading(
        "joblib",
        "joblib",
        into=lambda root, name, live: fill_arrays(live, _flat(joblib.load(root / name))),
        new=lambda root, name: joblib.load(root / name),
    ),
    Loading(
        "pickle 5 (NumPy)",
        "pickle 5 (NumPy)",
        into=lambda root, name, live: fill_arrays(live, _flat(_load(root, name))),
        new=_load,
    ),
)
