"""A pytest plugin: all that Lightning saves is saved and loaded by `HoldfastCheckpointIO`.

A file with the path of the bundle stands where Lightning's tests look for a file; `torch.load` reads through it, too.
"""

from __future__ import annotations

import os
import tempfile
from itertools import count
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.plugins.io import TorchCheckpointIO
from lightning.pytorch.strategies import strategy

from holdfast.integrations.lightning import HoldfastCheckpointIO

_MARK = b"a bundle of Holdfast: "
_BUNDLES = tempfile.TemporaryDirectory(prefix="peer-suites-", ignore_cleanup_errors=True)
_numbers = count()
_torch_load = torch.load


def _bundle(file: Any) -> str | None:
    """The bundle for which a file, given by its path or opened, stands."""
    if isinstance(file, str | os.PathLike):
        if not os.path.isfile(file):
            return None
        with open(file, "rb") as opened:
            return _bundle(opened)
    start = file.tell()
    is_ours = file.read(len(_MARK)) == _MARK
    path = file.read().decode() if is_ours else None
    file.seek(start)
    return path


class SeenAsFiles(TorchCheckpointIO):
    """To Lightning its own plugin; but what it saves are bundles."""

    def __init__(self) -> None:
        super().__init__()
        self._ours = HoldfastCheckpointIO()

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        bundle = os.path.join(_BUNDLES.name, f"{next(_numbers)}", Path(path).name)
        self._ours.save_checkpoint(checkpoint, bundle, storage_options)
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).write_bytes(_MARK + bundle.encode())

    def load_checkpoint(self, path: Any, map_location: Any = None, weights_only: bool | None = None) -> Any:
        bundle = _bundle(path)
        return self._ours.load_checkpoint(bundle or path, map_location, weights_only)

    def remove_checkpoint(self, path: Any) -> None:
        bundle = _bundle(path)
        if bundle is not None:
            self._ours.remove_checkpoint(bundle)
        super().remove_checkpoint(path)

    def teardown(self) -> None:
        self._ours.teardown()


def load(file: Any, *args: Any, **options: Any) -> Any:
    bundle = _bundle(file)
    return (
        _torch_load(file, *args, **options)
        if bundle is None
        else HoldfastCheckpointIO().load_checkpoint(bundle)
    )


torch.load = load
strategy.TorchCheckpointIO = SeenAsFiles
