"""safetensors: arrays only, no digest, not synced."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from safetensors import safe_open
from safetensors.torch import save_file

from ..states import State, tensors
from ._contender import Loading, Saving


class _Save:
    def __init__(self) -> None:
        self._root = Path()

    def begin(self, root: Path) -> None:
        self._root = root

    def save(self, state: State, name: str) -> None:
        save_file(dict(tensors(state)), self._root / f"{name}.safetensors")

    def finish(self) -> None: ...

    def close(self) -> None: ...


def _into(root: Path, name: str, live: State) -> None:
    with safe_open(root / f"{name}.safetensors", "pt") as file:
        for path, tensor in tensors(live):
            tensor.copy_(file.get_tensor(path))


def _new(root: Path, name: str) -> Any:
    with safe_open(root / f"{name}.safetensors", "pt") as file:
        return {path: file.get_tensor(path).clone() for path in file.keys()}  # noqa: SIM118 (no mapping)


def _one(root: Path, name: str, path: str) -> Any:
    with safe_open(root / f"{name}.safetensors", "pt") as file:
        return file.get_tensor(path).clone()


_WHERE = frozenset({"S1", "S2", "S3", "S6"})
SAVINGS = (Saving("safetensors", _Save, durable=False, scenarios=_WHERE),)
LOADINGS = (
    Loading(
        "safetensors",
        "safetensors",
        into=_into,
        new=_new,
        one=_one,
        training=lambda root, name, training: _into(root, name, training.state_dicts()),
    ),
)
