"""The loaders that a fit of Lightning goes through: where they are, and which checkpoints are of such a fit."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, final

import lightning.pytorch as pl

from ... import rng
from ...checkpoint import find
from ...checkpoint import open as open_checkpoint
from ...data import BatchSource, digest_of_contents
from .._common.loader_proxy import HeldLoader
from .._common.loader_proxy import let_go as let_go_of


@final
class ValidationWorkers:
    """Whether the persistent workers of validation loaders run already: starting them draws a random number."""

    def __init__(self) -> None:
        self._loaders: list[Any] = []
        self._ran: Sequence[bool] = ()

    def hold(self, loader: Any) -> None:
        """The next of the loaders; its workers are started if they ran in the checkpoint."""
        self._loaders.append(loader)
        if len(self._loaders) <= len(self._ran) and self._ran[len(self._loaders) - 1]:
            _start_workers(loader)

    def get_state(self) -> list[bool]:
        return [getattr(each, "_iterator", None) is not None for each in self._loaders]

    def set_state(self, ran: Sequence[bool]) -> None:
        """Start those that ran, of the loaders held so far and of those to come."""
        self._ran = ran
        for loader, did_run in zip(self._loaders, ran, strict=False):
            if did_run:
                _start_workers(loader)


def _start_workers(loader: Any) -> None:
    if getattr(loader, "persistent_workers", False) and loader._iterator is None:
        with rng.preserved():
            iter(loader)


def sources_of(trainer: pl.Trainer) -> list[BatchSource]:
    """The sources of the training loaders; none before they have begun."""
    combined = trainer.fit_loop._combined_loader
    loaders = [] if combined is None else combined.flattened
    return [each.source for each in loaders if isinstance(each, HeldLoader)]


_MADE_OTHERWISE = (
    "train_dataloader has made other data than in the epoch that is resumed: it depends on how often it was called, or on "
    "what has been trained since"
)


@final
class MadeAnew:
    """The data sets of training loaders that are made anew every few epochs: after a resume a `train_dataloader` that
    counts its calls makes others.

    Attributes:
        contents: a digest of what they held when they were made; None if these are the objects of before.
    """

    def __init__(self) -> None:
        self.contents: str | None = None
        self._loader: Any = None
        self._datasets: list[Any] = []

    def look(self, trainer: pl.Trainer) -> None:
        """The loaders may have been made."""
        combined = trainer.fit_loop._combined_loader
        if combined is None or combined is self._loader:
            return
        before, self._loader = self._datasets, combined
        self._datasets = [getattr(each, "dataset", None) for each in combined.flattened]
        are_same = [*map(id, before)] == [*map(id, self._datasets)]
        self.contents = None if are_same else digest_of_contents(self._datasets)

    def differences(self, saved: str | None) -> list[str]:
        if saved is None or saved == self.contents:
            return []
        return [_MADE_OTHERWISE]


def let_go(trainer: pl.Trainer) -> None:
    """After a fit the trainer has the training loaders themselves, as without us, and they have no workers left."""
    combined = trainer.fit_loop._combined_loader
    if combined is not None:
        combined.flattened = [let_go_of(each) for each in combined.flattened]


def get_state(trainer: pl.Trainer) -> dict[str, Any]:
    combined = trainer.fit_loop._combined_loader
    return {
        "data": [each.get_state() for each in sources_of(trainer)],
        # Of data without a length the next batch is read ahead, to know which is the last.
        "ready": [*getattr(trainer.fit_loop._data_fetcher, "batches", ())],
        "consumed": list(getattr(getattr(combined, "_iterator", None), "_consumed", ())),
        "index": getattr(getattr(combined, "_iterator", None), "_idx", 0),  # which a `dataloader_iter` gives
    }


@contextmanager
def without_states(trainer: pl.Trainer) -> Iterator[None]:
    """Within, the training loaders have no state for a checkpoint of Lightning's: ours has their positions.

    A `StatefulDataLoader` draws a random number whenever somebody reads its state.
    """
    combined: Any = trainer.fit_loop._combined_loader
    if combined is None:
        yield
        return
    combined._state_dicts = list
    try:
        yield
    finally:
        del combined._state_dicts


def put_back(trainer: pl.Trainer, own: Mapping[str, Any], *, is_among_batches: bool) -> None:
    """What of it the loaders, made anew, do not know by themselves."""
    combined = trainer.fit_loop._combined_loader
    iterator: Any = None if combined is None else combined._iterator
    if iterator is not None and is_among_batches:
        iterator._idx = own.get("index", iterator._idx)
        if own["consumed"]:
            iterator._consumed = list(own["consumed"])
    if ready := own.get("ready"):
        fetcher: Any = trainer.fit_loop._data_fetcher
        fetcher.batches = [tuple(each) for each in ready]


def without_empty_states(saved: dict[str, Any]) -> dict[str, Any]:
    """What Lightning's own checkpoint says of the fit loop, as it would without us: no state of loaders that keep none."""
    if not all(saved.get("combined_loader", [{}])):
        saved.pop("combined_loader", None)
    return saved


def is_ours(path: Any, directory: str) -> bool:
    """Whether `path` means a bundle that this callback saved, and not one of Lightning's own checkpoints in it."""
    found = find(path, directory=directory)
    if found is None:
        return False
    with open_checkpoint(found) as checkpoint:
        tree = checkpoint.tree()
        return isinstance(tree, dict) and "run" in tree
