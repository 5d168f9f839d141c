"""The loaders that a fit of Lightning goes through: where they are, and which checkpoints are of such a fit."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import lightning.pytorch as pl

from ...checkpoint import find
from ...checkpoint import open as open_checkpoint
from ...data import BatchSource
from .._common.loader_proxy import HeldLoader


def sources_of(trainer: pl.Trainer) -> list[BatchSource]:
    """The sources of the training loaders; none before they have begun."""
    combined = trainer.fit_loop._combined_loader
    loaders = [] if combined is None else combined.flattened
    return [each.source for each in loaders if isinstance(each, HeldLoader)]


def get_state(trainer: pl.Trainer) -> dict[str, Any]:
    combined = trainer.fit_loop._combined_loader
    return {
        "data": [each.get_state() for each in sources_of(trainer)],
        # Of data without a length the next batch is read ahead, to know which is the last.
        "ready": [*getattr(trainer.fit_loop._data_fetcher, "batches", ())],
        "consumed": list(getattr(getattr(combined, "_iterator", None), "_consumed", ())),
    }


def put_back(trainer: pl.Trainer, own: Mapping[str, Any], *, is_among_batches: bool) -> None:
    """What of it the loaders, made anew, do not know by themselves."""
    combined = trainer.fit_loop._combined_loader
    iterator: Any = None if combined is None else combined._iterator
    if iterator is not None and is_among_batches and own["consumed"]:
        iterator._consumed = list(own["consumed"])
    if ready := own.get("ready"):
        fetcher: Any = trainer.fit_loop._data_fetcher
        fetcher.batches = [tuple(each) for each in ready]


def is_ours(path: Any, directory: str) -> bool:
    """Whether `path` means a bundle that this callback saved, and not one of Lightning's own checkpoints in it."""
    found = find(path, directory=directory)
    if found is None:
        return False
    with open_checkpoint(found) as checkpoint:
        tree = checkpoint.tree()
        return isinstance(tree, dict) and "run" in tree
