"""`hold`: an Accelerator whose states are bundles."""

from __future__ import annotations

import logging
import os
import secrets
from collections.abc import Iterator, Mapping
from typing import Any, final

from accelerate import Accelerator

from ... import bundle, rng, state
from ...checkpoint import open as open_checkpoint
from ...checkpoint import scan as scan_checkpoints
from ...errors import CheckpointNotFoundError, DamagedError, PlanMismatchError, UsageError
from ...policy import check_name
from ...records import Moment
from ...runtime import ExperimentDirectory, save_by_hand
from ...runtime.torch_updates import Updates
from . import _loaders as loaders

logger = logging.getLogger("holdfast")

_OURS = ("loaders", "gradients", "random")
"""What a bundle of `save_state` holds beside the parts."""


def hold(accelerator: Accelerator) -> Held:
    """Take hold of all that `accelerator` has prepared; to be called after `prepare` and `register_for_checkpointing`.

    From then on `accelerator.save_state(path)` commits a bundle `path.ckpt.mml`, and `accelerator.load_state(place)` restores
    one, or the newest valid one below a directory: the random streams and the place in the data too.

    Raises:
        UsageError: there are several processes, or a loader that cannot go on exactly.
    """
    return Held(accelerator)


@final
class Held:
    """What an accelerator has prepared, by name, in the hands of Holdfast.

    Attributes:
        parts: models, optimizers, schedules, registered objects and the scaler, for `holdfast.Run`.
    """

    def __init__(self, accelerator: Accelerator) -> None:
        if accelerator.num_processes > 1:
            raise UsageError(
                "this holds an accelerator of one process; with several, a Trainer of transformers or Lightning with DDP is held"
            )
        self._accelerator = accelerator
        self._loaders = {id(each): loaders.hold(each) for each in accelerator._dataloaders}
        self._batches = {
            id(each): _Batches(each, self._loaders[id(each)]) for each in accelerator._dataloaders
        }
        self.parts = _parts(accelerator)
        self._updates = Updates(self.parts)
        accelerator.save_state = self.save_state  # type: ignore[method-assign]
        accelerator.load_state = self.load_state  # type: ignore[method-assign]

    def batches(self, prepared: Any) -> Any:
        """A prepared loader as `Run.batches` takes it; each time the same."""
        if id(prepared) not in self._batches:
            raise UsageError(
                "this loader was not prepared by the accelerator, or only after hold(): pass it to run.batches as it is"
            )
        return self._batches[id(prepared)]

    def save_state(self, output_dir: str | os.PathLike[str] | None = None, **options: Any) -> str:
        """Commit everything now; returns the bundle's path. Between two batches of a prepared loader, or outside of any.

        Raises:
            UsageError: there is no `output_dir`, or it cannot be a bundle's.
            SaveError: the disk refused.
        """
        if output_dir is None:
            raise UsageError("say where: save_state('runs/mine/step_100')")
        place = os.fspath(output_dir).rstrip("/").removesuffix(bundle.SUFFIX)
        folder, name = os.path.split(place)
        run = secrets.token_hex(16)
        parts = {
            **self.parts,
            "loaders": [each.get_state() for each in self._loaders.values()],
            "gradients": self._updates.pending,
            "random": rng.capture_state(),
        }
        moment = Moment(run=run, hook="", phase="train", step=self._accelerator.step)
        with ExperimentDirectory(folder or ".", run, share=True) as directory:
            return str(
                save_by_hand(directory, folder or ".", check_name(name), parts, kind="train", moment=moment)
            )

    def load_state(self, input_dir: str | os.PathLike[str] | None = None, **options: Any) -> str:
        """Restore the bundle at `input_dir`, or the newest below it of which every byte is as it was saved; returns its path.

        The next iterator of a prepared loader then goes on where the loader was.

        Raises:
            CheckpointNotFoundError: there is none.
            DamagedError: it is damaged, or all are; nothing was changed.
            StateMismatchError: it does not fit; nothing was changed.
        """
        if input_dir is None:
            raise UsageError("say from where: load_state('runs/mine')")
        damage: DamagedError | None = None
        for path in _candidates(os.fspath(input_dir)):
            try:
                return self._load(path)
            except DamagedError as err:
                logger.warning("set aside %s: %s", path, err)
                damage = damage or err
        if damage is not None:
            raise damage
        raise CheckpointNotFoundError(os.fspath(input_dir), "there is no checkpoint at or below it")

    def _load(self, path: str) -> str:
        with open_checkpoint(path) as checkpoint:
            tree = checkpoint.tree()
            if not isinstance(tree, dict) or tree.keys() != {*self.parts, *_OURS}:
                raise PlanMismatchError([f"{path} holds other things than the accelerator does"])
            saved, gradients, streams = (checkpoint[name] for name in _OURS)
            if len(saved) != len(self._loaders):
                raise PlanMismatchError(
                    [f"{path} is of {len(saved)} loaders, and here are {len(self._loaders)}"]
                )
            state.restore(checkpoint.source, dict(self.parts), verify="first")
        self._updates.go_on(self._accelerator.step, gradients)
        for loader, where in zip(self._loaders.values(), saved, strict=True):
            loader.set_state(where)
        rng.restore_state(streams)
        return path


@final
class _Batches:
    """A prepared loader with a state of its own, as `holdfast.data` understands it."""

    def __init__(self, prepared: Any, inside: loaders.ReadyLoader) -> None:
        self._prepared, self._inside = prepared, inside

    def __iter__(self) -> Iterator[Any]:
        try:
            yield from self._prepared
        finally:  # whoever knows how many batches there are does not ask for one more, and it would stay open
            if self._prepared.gradient_state.active_dataloader is self._prepared:
                self._prepared.end()

    def __len__(self) -> int:
        return len(self._prepared)

    def set_epoch(self, epoch: int) -> None:
        self._prepared.set_epoch(epoch)

    def state_dict(self) -> dict[str, Any]:
        return self._inside.get_state()

    def load_state_dict(self, saved: Mapping[str, Any]) -> None:
        self._inside.set_state(saved)


@final
class _Progress:
    """How many batches of an accumulation have been."""

    def __init__(self, accelerator: Accelerator) -> None:
        self._accelerator = accelerator

    def state_dict(self) -> dict[str, Any]:
        gradients = self._accelerator.gradient_state
        return {"step": self._accelerator.step, "sync_gradients": gradients.sync_gradients}

    def load_state_dict(self, saved: Mapping[str, Any]) -> None:
        self._accelerator.step = saved["step"]
        self._accelerator.gradient_state._set_sync_gradients(saved["sync_gradients"])


def _parts(accelerator: Accelerator) -> dict[str, Any]:
    kinds = {
        "model": accelerator._models,
        "optimizer": [each.optimizer for each in accelerator._optimizers],
        "scheduler": [each.scheduler for each in accelerator._schedulers],
        "registered": accelerator._custom_objects,
        "scaler": [] if accelerator.scaler is None else [accelerator.scaler],
        "progress": [_Progress(accelerator)],
    }
    return {
        kind if len(found) == 1 else f"{kind}_{index}": each
        for kind, found in kinds.items()
        for index, each in enumerate(found)
    }


def _candidates(place: str) -> Iterator[str]:
    """The bundle at `place`; else those below it, newest first."""
    named = place.rstrip("/").removesuffix(bundle.SUFFIX) + bundle.SUFFIX
    if os.path.isdir(named):
        yield named
    elif os.path.isdir(place):
        yield from (listed.path for listed in reversed(scan_checkpoints(place)))
