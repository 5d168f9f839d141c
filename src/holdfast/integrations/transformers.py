"""transformers' `Trainer`: `hold(trainer)` makes it save by a rule, and go on bit for bit from the newest valid checkpoint.

    trainer = Trainer(model=model, args=args, train_dataset=dataset)
    hold(trainer, checkpointing=rule)
    trainer.train(resume_from_checkpoint=True)     # from scratch, if there is no checkpoint

A checkpoint is taken when all that belongs to an update is done: logging, evaluation, callbacks. It takes the place
of the Trainer's own `checkpoint-500/`, which a kill can leave half written.
"""

from __future__ import annotations

import functools
import math
import os
import sys
import tempfile
from collections.abc import Callable, Mapping
from typing import Any, final

from transformers import Trainer, TrainerCallback, TrainerState

from .. import bundle, rng
from ..checkpointing import Checkpointing
from ..errors import DivergenceError, UsageError
from ..session import Loop
from .backends import accelerate as loaders
from .backends import seams
from .backends import transformers as trainers
from .backends.handover import Handover
from .backends.reporting import Reporting


def hold(
    trainer: Trainer,
    directory: str | os.PathLike[str] | None = None,
    *,
    checkpointing: Checkpointing | None = None,
    label: str = "train",
    share_directory: bool = False,
) -> HoldfastCallback:
    """Let Holdfast save what `trainer` trains, and load it; returns the callback that does it, added to the trainer.

    Args:
        directory: where checkpoints go, and are looked for; by default `args.output_dir`.
        checkpointing: when to save, what to keep; `mode="disk"`. A "batch" is an update of the optimizer. By default what
            `save_strategy`, `save_steps` and `save_total_limit` of the arguments say.
        label: the name of what is trained, for names such as `train_epoch3`.
        share_directory: run although another live run uses the directory.

    Raises:
        UsageError: the trainer is set up in a way that cannot go on exactly here; it says which.
    """
    callback = HoldfastCallback(
        trainer, directory, checkpointing=checkpointing, label=label, share_directory=share_directory
    )
    trainer.add_callback(callback)
    return callback


@final
class HoldfastCallback(Reporting, TrainerCallback):
    """What `hold` adds to a trainer, and where to ask what became of it.

    `trainer.train()` begins anew; `train(resume_from_checkpoint=True)` goes on from the newest whole checkpoint, and
    a path of a bundle from that one.
    """

    _begins = "trainer.train() has begun"

    def __init__(
        self,
        trainer: Trainer,
        directory: str | os.PathLike[str] | None = None,
        *,
        checkpointing: Checkpointing | None = None,
        label: str = "train",
        share_directory: bool = False,
    ) -> None:
        trainers.check(trainer)
        self._trainer = trainer
        self._directory = directory or trainer.args.output_dir or "."
        self._rule = trainers.LIMITS.check(checkpointing or trainers.rule_of(trainer))
        self._label, self._share = label, share_directory
        self._loop: Loop | None = None
        for name, wrapper in (
            ("train", self._train),
            ("get_train_dataloader", self._get_train_dataloader),
            ("_init_training_state", self._init_training_state),
            ("_maybe_log_save_evaluate", self._maybe_log_save_evaluate),
            ("_finalize_training", self._finalize_training),
            ("_save_checkpoint", self._save_checkpoint),
            ("_load_from_checkpoint", functools.partial(self._load, self._load_model)),
            ("_load_optimizer_and_scheduler", functools.partial(self._load, self._load_optimizer)),
            ("_load_scaler", functools.partial(self._load, self._load_scaler)),
            ("_load_rng_state", functools.partial(self._load, self._arrive)),
        ):
            seams.wrap(trainer, name, wrapper)

    # --- what there is ----------------------------------------------------------------------------

    def state_digest(self) -> str:
        """BLAKE3 of what two runs have in common at the same place: weights, optimizer, state, random streams, …"""
        self._with_times = False
        try:
            return super().state_digest()
        finally:
            self._with_times = True

    # --- a training -------------------------------------------------------------------------------

    def _train(
        self, train: Callable[..., Any], resume_from_checkpoint: Any = None, *more: Any, **options: Any
    ) -> Any:
        self._behind: Mapping[str, Any] | None = None
        self._with_times = True
        self._parts = Handover(trainers.PARTS, self._take)
        loop = self._loop = Loop(
            self._directory,
            self._rule,
            objects={"transformers": self._parts},
            untrained=("transformers/trainer/**",),
            position=self._get_position,
            label=self._label,
            share_directory=self._share,
        )
        with loop.holding(), trainers.skipping_nothing():
            if resume_from_checkpoint:
                if resume_from_checkpoint is not True and not _is_bundle(resume_from_checkpoint):
                    raise UsageError(
                        f"{resume_from_checkpoint} is a checkpoint of the Trainer's own: a Trainer goes on from it without hold()"
                    )
                with self._parts.expecting():
                    self._behind = loop.go_on(resume_from_checkpoint)
            while True:
                try:
                    done = self._train_once(lambda folder: train(folder, *more, **options))
                    loop.look()
                    return done
                except DivergenceError as err:
                    if not err.can_roll_back:
                        raise
                    self._clear_away()
                    with self._parts.expecting():
                        self._behind = loop.roll_back(err)

    def _train_once(self, train: Callable[[str | None], Any]) -> Any:
        """From the beginning, or from what is behind; to the end, or until it diverges."""
        self._loader: loaders.ReadyLoader | None = None
        self._at: str | None = None
        self._owes = self._ended = False
        self._epoch = 0
        self._latest: dict[str, float] = {}
        if self._behind is None:
            return train(None)
        with tempfile.TemporaryDirectory() as folder:  # all that the Trainer itself reads is this
            self._saved_state.save_to_json(os.path.join(folder, "trainer_state.json"))
            return train(folder)

    def _clear_away(self) -> None:
        """The Trainer was thrown out of its loop: its loader still counts as being iterated, and its work as done."""
        trainer: Any = self._trainer
        trainer.current_flos = 0
        gradients = trainer.accelerator.gradient_state
        while (active := gradients.active_dataloader) is not None:
            gradients._remove_dataloader(active)

    def on_train_begin(self, args: Any, state: Any, control: Any, **more: Any) -> None:
        if self._behind is None:
            self._known.announce("phase_start", step=state.global_step)

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **more: Any) -> None:
        self._epoch, self._ended = int(state.epoch or 0), False

    def on_step_end(self, args: Any, state: Any, control: Any, **more: Any) -> None:
        self._at = "step"

    def on_epoch_end(self, args: Any, state: Any, control: Any, **more: Any) -> None:
        self._at = "epoch"

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **more: Any) -> None:
        row = trainers.numbers(logs or {})
        self._latest |= row
        self._known.results.append({"step": state.global_step, **row})

    def on_train_end(self, args: Any, state: Any, control: Any, **more: Any) -> None:
        if not self._ended:
            self._ended = True
            self._announce("phase_end")

    def _maybe_log_save_evaluate(self, original: Callable[..., Any], *more: Any, **options: Any) -> Any:
        done = original(*more, **options)
        at, self._at = self._at, None
        if at == "step":
            # What ends an epoch comes after its last update, and a checkpoint between the two would skip it.
            self._owes = float(self._trainer.state.epoch or 0).is_integer()
            if not self._owes:
                self._announce("batch_end")
        elif at == "epoch":
            if self._owes:
                self._owes = False
                self._announce("batch_end")
            self._announce("epoch_end")
        return done

    def _finalize_training(self, original: Callable[..., Any], *more: Any, **options: Any) -> Any:
        self._arrive()  # if it is not there yet, there was nothing left to train
        return original(*more, **options)

    def _announce(self, hook: str) -> None:
        state = self._trainer.state
        per_epoch = math.ceil(len(self._known_loader) / self._trainer.args.gradient_accumulation_steps)
        batch = state.global_step - self._epoch * per_epoch - 1 if hook.startswith("batch") else None
        epoch = None if hook.startswith("phase") else self._epoch
        self._known.announce(hook, epoch=epoch, batch=batch, step=state.global_step, metrics=self._latest)

    def _save_checkpoint(self, original: Callable[..., Any], *more: Any, **options: Any) -> None:
        """In place of the Trainer's own: the rule decides, and has its say after this."""

    def _get_train_dataloader(self, original: Callable[[], Any]) -> Any:
        prepared = original()
        self._loader = loaders.hold(prepared, on_arrival=self._arrive)
        if self._behind is not None:
            with rng.preserved():
                self._loader.set_state(self._behind["loader"])
        return prepared

    @property
    def _known_loader(self) -> loaders.ReadyLoader:
        assert self._loader is not None
        return self._loader

    # --- state ------------------------------------------------------------------------------------

    def _take(self) -> dict[str, Any]:
        return trainers.parts_of(self._trainer, with_times=self._with_times)

    def _get_position(self) -> dict[str, Any]:
        source = self._known_loader.source
        return {
            "epoch": self._epoch,
            "ended": self._ended,
            "latest": dict(self._latest),
            "stopped": self._trainer.control.should_training_stop,
            "course": trainers.get_course(self._trainer),
            "loader": self._known_loader.get_state(),
            "exactness": source.exactness,
            "next_batch": source.fingerprint(),
        }

    # --- going on ---------------------------------------------------------------------------------

    @property
    def _saved_state(self) -> TrainerState:
        assert self._parts.given is not None
        return TrainerState(**self._parts.given["trainer"])

    def _load(
        self,
        ours: Callable[..., None],
        original: Callable[..., Any],
        checkpoint: Any,
        *more: Any,
        **options: Any,
    ) -> Any:
        """Load what was found, or leave it to the Trainer if this is a checkpoint of its own."""
        if self._parts.given is None:
            return original(checkpoint, *more, **options)
        return ours()

    def _load_model(self) -> None:
        assert self._parts.given is not None
        model: Any = self._trainer.accelerator.unwrap_model(self._trainer.model)
        model.load_state_dict(self._parts.given["model"])

    def _load_optimizer(self) -> None:
        trainer: Any = self._trainer
        assert self._parts.given is not None
        trainer.optimizer.load_state_dict(self._parts.given["optimizer"])
        trainer.lr_scheduler.load_state_dict(self._parts.given["scheduler"])

    def _load_scaler(self) -> None:
        assert self._parts.given is not None
        scaler: Any = self._trainer.accelerator.scaler
        if self._parts.given["scaler"] is not None:
            scaler.load_state_dict(self._parts.given["scaler"])

    def _init_training_state(self, original: Callable[..., Any], *more: Any, **options: Any) -> Any:
        epochs, steps = original(*more, **options)
        stopped = self._behind is not None and self._behind["stopped"]
        return (sys.maxsize, 0) if stopped else (epochs, steps)

    def _arrive(self) -> None:
        """The Trainer is where it was when it was saved: from here on all is as it would have been."""
        if self._behind is None:
            return
        saved, self._behind = self._behind, None
        self._epoch = max(self._epoch, saved["epoch"])  # between two epochs, the next one has begun
        self._ended, self._latest = saved["ended"], dict(saved["latest"])
        trainers.set_course(self._trainer, saved["course"])
        self._known.restore_streams()
        assert self.last_resume is not None
        if saved["exactness"] != "exact":
            self.last_resume.differences.append(saved["exactness"].removeprefix("not exact: "))
        self.last_resume.differences.extend(self._known_loader.source.differences)
        if (
            not saved["loader"]["source"]["finished"]
            and saved["next_batch"] != self._known_loader.source.fingerprint()
        ):
            self.last_resume.differences.append("the data give another next batch than they would have")


def _is_bundle(path: Any) -> bool:
    return isinstance(path, str | os.PathLike) and os.fspath(path).rstrip("/").endswith(bundle.SUFFIX)
