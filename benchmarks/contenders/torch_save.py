"""`torch.save`, as everybody uses it, and with what it takes to survive a power cut."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch

from ..measure import sync_file
from ..states import State, fill, tensors
from ._contender import ALL, Loading, Saving


class _Save:
    def __init__(self, *, durable: bool) -> None:
        self._durable = durable
        self._root = Path()

    def begin(self, root: Path) -> None:
        self._root = root

    def save(self, state: State, name: str) -> None:
        final = self._root / f"{name}.pt"
        if not self._durable:
            torch.save(state, final)
            return
        part = final.with_suffix(".part")
        torch.save(state, part)
        sync_file(part)
        os.replace(part, final)
        sync_file(self._root)

    def finish(self) -> None: ...

    def close(self) -> None: ...


def _load(root: Path, name: str, *, mmap: bool = False) -> Any:
    return torch.load(root / f"{name}.pt", mmap=mmap)


def _one(root: Path, name: str, path: str, *, mmap: bool = False) -> Any:
    return dict(tensors(_load(root, name, mmap=mmap)))[path].clone()


SAVINGS = (
    Saving("torch.save", lambda: _Save(durable=False), durable=False, scenarios=ALL),
    Saving("torch.save + fsync + rename", lambda: _Save(durable=True), durable=True, scenarios=ALL),
)
LOADINGS = (
    Loading(
        "torch.load",
        "torch.save",
        into=lambda root, name, live: fill(live, _load(root, name)),
        new=_load,
        one=_one,
        training=lambda root, name, training: training.load_state_dicts(_load(root, name)),
    ),
    Loading(
        "torch.load(mmap=True)",
        "torch.save",
        into=lambda root, name, live: fill(live, _load(root, name, mmap=True)),
        one=lambda root, name, path: _one(root, name, path, mmap=True),
    ),
)
