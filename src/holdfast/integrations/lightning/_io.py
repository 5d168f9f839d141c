"""`HoldfastCheckpointIO`: Lightning's own checkpoints, stored as bundles: for those who keep `ModelCheckpoint`."""

from __future__ import annotations

import functools
import logging
import os
import secrets
from typing import Any, Literal, final

from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.plugins.io import CheckpointIO, TorchCheckpointIO

from ... import bundle, state
from ...checkpoint import find, remove, scan_if_there
from ...checkpoint import open as open_checkpoint
from ...errors import DamagedError, UsageError
from ...harness import file_place
from ...harness import place as sent_to
from ...policy import Write, check_name
from ...records import Moment
from ...runtime import ExperimentDirectory, save_manually
from ...storage import absolute
from ._trainer import checkpoint_of, parts_of

logger = logging.getLogger("holdfast")


class BundleReader(CheckpointIO):
    """Reads bundles, too; all else is left to `otherwise`, whose files stay as they are."""

    def __init__(self, otherwise: CheckpointIO) -> None:
        self._otherwise = otherwise

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | os.PathLike[str], storage_options: Any = None
    ) -> None:
        self._otherwise.save_checkpoint(checkpoint, os.fspath(path), storage_options)

    def load_checkpoint(
        self, path: str | os.PathLike[str], map_location: Any = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        """The checkpoint at `path`; of a bundle every byte is checked, and the arrays are new ones in host memory.

        Raises:
            DamagedError: it is not what was saved.
        """
        place = self._bundle_at(path)
        if place is None:
            options = {} if weights_only is None else {"weights_only": weights_only}
            return self._otherwise.load_checkpoint(os.fspath(path), map_location, **options)
        return read_bundle(place)

    def remove_checkpoint(self, path: str | os.PathLike[str]) -> None:
        self._otherwise.remove_checkpoint(os.fspath(path))

    def teardown(self) -> None:
        self._otherwise.teardown()

    def _bundle_at(self, path: str | os.PathLike[str]) -> str | None:
        text = os.fspath(path)
        return text if text.rstrip("/").endswith(bundle.SUFFIX) else None


@final
class HoldfastCheckpointIO(BundleReader):
    """Stores what Lightning gives it: atomically, durably, without pickle, equal arrays once; and reads it, checked.

        trainer = L.Trainer(plugins=[HoldfastCheckpointIO()], callbacks=[ModelCheckpoint("runs", save_last=True)])

    A path `….ckpt` is the bundle `….ckpt.mml`. Random states and the place in the data are not in what
    Lightning gives: for them there is `HoldfastCallback`.

    Args:
        durability: as that of `Checkpointing`.
        otherwise: what reads paths that are no bundles, such as older files.
    """

    def __init__(
        self, *, durability: Literal["full", "process"] = "full", otherwise: CheckpointIO | None = None
    ) -> None:
        super().__init__(otherwise or TorchCheckpointIO())
        Write(durability=durability)  # which refuses what has no meaning
        see_bundles()
        self._durability: Literal["full", "process"] = durability
        self._run = secrets.token_hex(16)
        self._directories: dict[str, ExperimentDirectory] = {}

    @staticmethod
    def newest(directory: str | os.PathLike[str]) -> str | None:
        """The path of the newest checkpoint below `directory` of which every byte is as it was saved; None without one.

        Damaged ones are passed over, with a warning. For `fit(ckpt_path=…)` in a new process.

        Raises:
            CheckpointUnreadableError: the system refuses to read one that may be the newest, or to list the directory.
        """
        sent = sent_to(directory)  # elsewhere, if the script is checked
        newest_first = scan_if_there(sent if os.path.isdir(sent) else directory)[::-1]
        bundle.refuse_unreadable(newest_first)
        for listed in newest_first:
            try:
                with open_checkpoint(listed) as checkpoint:
                    problems = checkpoint.verify()
            except DamagedError as err:
                problems = [err]
            if not problems:
                return listed.path
            logger.warning("passed over %s: %s", listed.path, problems[0])
        return None

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | os.PathLike[str], storage_options: Any = None
    ) -> None:
        """Commit `checkpoint`; in the place of what had this name.

        Raises:
            UsageError: storage options, or a path that cannot be a bundle's.
            UnsupportedStateError: something in it cannot be saved without pickle; it says what.
            SaveError: the disk refused.
        """
        if storage_options is not None:
            raise UsageError("bundles have no storage_options")
        folder, name = os.path.split(file_place(_name(path)))
        directory = self._directory(folder or ".")
        moment = Moment(
            run=self._run,
            hook="",
            phase="train",
            epoch=checkpoint.get("epoch"),
            step=checkpoint.get("global_step", 0),
        )
        parts = {"lightning": parts_of(checkpoint)}
        save_manually(
            *(directory, folder or ".", check_name(name), lambda: parts),
            kind="train",
            moment=moment,
            durability=self._durability,
        )

    def remove_checkpoint(self, path: str | os.PathLike[str]) -> None:
        place = find(file_place(_name(path)) + bundle.SUFFIX)  # never what the script has not saved there
        if place is None:
            super().remove_checkpoint(path)
        else:
            remove(place)

    def teardown(self) -> None:
        for directory in self._directories.values():
            directory.close()
        self._directories.clear()
        super().teardown()

    def exists(self, path: str | os.PathLike[str]) -> bool:
        """Whether there is a bundle for `path`: `ModelCheckpoint` takes another name then, as it does for files."""
        return self._bundle_at(path) is not None

    def _bundle_at(self, path: str | os.PathLike[str]) -> str | None:
        return bundle_at(path)

    def _directory(self, folder: str) -> ExperimentDirectory:
        """Held from the first save to the end, for what its checkpoints share."""
        key = absolute(folder)
        if key not in self._directories:
            self._directories[key] = ExperimentDirectory(folder, self._run, share=True)
        return self._directories[key]


def see_bundles() -> None:
    """Let every `ModelCheckpoint` of a trainer with a `HoldfastCheckpointIO` know which names are taken."""
    stock = ModelCheckpoint.file_exists
    if getattr(stock, "sees_bundles", False):
        return

    @functools.wraps(stock)
    def file_exists(self: ModelCheckpoint, filepath: Any, trainer: Any) -> bool:
        plugin = trainer.strategy.checkpoint_io
        if not isinstance(plugin, HoldfastCheckpointIO):
            return stock(self, filepath, trainer)
        is_there = trainer.is_global_zero and plugin.exists(filepath)
        return trainer.strategy.reduce_boolean_decision(is_there, all=False)

    vars(file_exists)["sees_bundles"] = True
    ModelCheckpoint.file_exists = file_exists


def bundle_at(path: str | os.PathLike[str]) -> str | None:
    """The path of the bundle that `path`, or Lightning's name for it, means; None if there is none."""
    found = find(file_place(_name(path)) + bundle.SUFFIX) or find(_name(path) + bundle.SUFFIX)
    return None if found is None else found.path


def read_bundle(path: str, *, for_a_new_module: bool = False) -> dict[str, Any]:
    """The checkpoint of Lightning's in a bundle, in host memory; a new module is made of its hyperparameters, too.

    Raises:
        DamagedError: it is not what was saved.
        UsageError: it is of something else than a training of Lightning.
    """
    with open_checkpoint(path) as opened:
        tree = opened.tree()
        if not isinstance(tree, dict) or "lightning" not in tree:
            raise UsageError(f"{path} is no checkpoint of a training with Lightning; holdfast.load reads it.")
        state.meet_own_types(opened.source.tree)  # of hyperparameters, which nothing live takes back
        if for_a_new_module and (lost := _lost_hyperparameters(opened.source.tree)):
            logger.warning(
                "%s: hyperparameters come back as plain data, not as what was saved: %s. Pass them to load_from_checkpoint(), or "
                "leave them out of what is saved (save_hyperparameters(ignore=…))",
                *(path, "; ".join(lost)),
            )
        return checkpoint_of(opened["lightning"])


def _lost_hyperparameters(tree: Any) -> list[str]:
    """What of them is of a class that nothing here can make, each with that class."""
    place = "lightning/trainer/hyper_parameters/"
    return [
        f"{at.removeprefix(place)} ({node.type})"
        for at, node in state.entries(tree)
        if at.startswith(place) and any(each is node for each in state.unmakeable(node))
    ]


def _name(path: str | os.PathLike[str]) -> str:
    """The path without the suffix that Lightning gives to it, or ours."""
    return os.fspath(path).rstrip("/").removesuffix(bundle.SUFFIX).removesuffix(".ckpt")
