"""`hold`: a Trainer that saves through Holdfast, and resumes."""

from __future__ import annotations

import functools
import math
import os
import tempfile
from collections.abc import Callable, Mapping
from contextlib import ExitStack, closing
from typing import Any, final

import torch
from transformers import Trainer, TrainerCallback, TrainerState
from transformers.trainer_utils import has_length

from ... import rng
from ...checkpoint import Place, find, path_of
from ...checkpoint import open as open_checkpoint
from ...errors import DivergenceError, PlanMismatchError, UsageError
from ...policy import Checkpointing
from ...runtime import CANNOT_PROVE, Loop, Resume, check_position
from ...runtime.torch_updates import Updates
from ...runtime.torch_watch.attributes import Attributes
from ...state.adapters.torch_nn import compiled_differently, named_as_live
from ...state.adapters.torch_optim import lay_out
from ...variables import Mode
from .._common import patching
from .._common.arguments import Arguments
from .._common.handover import Handover
from .._common.held_training import HeldTraining, check_number, differences
from .._common.processes import Processes, leaving_signals_to_process_0
from .._common.script_settings import ScriptSettings
from ..accelerate import _loaders as loaders
from . import _state as trainers
from ._extensions import Extensions


def hold(
    trainer: Trainer,
    directory: str | os.PathLike[str] | None = None,
    *,
    checkpointing: Checkpointing | None = None,
    resume: bool | Place | Resume = True,
    label: str = "train",
    allow_reread: bool = False,
    share_directory: bool = False,
    variables: Mode = "save",
    on_rollback: Callable[[Held], None] | None = None,
) -> Held:
    """Let Holdfast save what `trainer` trains, and load it; returns the callback that does it, added to the trainer.

    Args:
        directory: where checkpoints are saved, and looked for.
            By default `args.output_dir`.
        checkpointing: when to save and what to keep; by default `Checkpointing.default()`.
            What `save_strategy`, `save_steps` and `save_total_limit` say otherwise than by default holds. A "batch" is an
            update of the optimizer.
        resume: True: resume from the newest complete checkpoint, or start from scratch if there is none. A name or path:
            from that checkpoint. False: start from scratch. A `Resume` says how as well.
            `trainer.train(resume_from_checkpoint=…)` has the last word.
        label: what is trained, in names such as `train_epoch3`.
        allow_reread: whether data without a position may be read again from the start of an epoch, to skip what was done.
        share_directory: run even though another live run uses the directory.
        variables: "save": variables of the script that have changed since the loop began are saved and put back, too,
            and those that cannot be are named. "watch": all of them are only named. "off": they are the script's affair.
        on_rollback: called with the callback or run after each rollback (`on_divergence="rollback"`), once everything is
            as it was in the checkpoint: the place to lower a learning rate.

    Raises:
        UsageError: the trainer is set up in a way that cannot resume exactly here; it says which.
    """
    if not isinstance(trainer, Trainer):
        raise UsageError(f"hold() takes a transformers.Trainer, not {trainer!r}.")
    trainers.check(trainer)
    callback = Held(
        trainer,
        trainers.ABILITIES.check(
            directory or trainer.args.output_dir or ".",
            checkpointing or trainers.policy_of(trainer),
            resume,
            label,
            allow_reread,
            share_directory,
            variables,
            on_rollback,
        ),
    )
    trainer.add_callback(callback)
    return callback


@final
class Held(HeldTraining, TrainerCallback):
    """What `hold` adds to a trainer, and where to ask what became of it.

    `trainer.train()` resumes as `hold(resume=…)` says, from the newest complete checkpoint by default. What
    `train(resume_from_checkpoint=…)` says wins: True, False (start from scratch), or the path of a bundle.
    """

    _begins = "trainer.train() has begun"

    def __init__(self, trainer: Trainer, arguments: Arguments) -> None:
        self._trainer, self._given = trainer, arguments
        self._policy = arguments.policy
        self._check_rollback(trainer.args.world_size)
        self._loop: Loop | None = None
        for name, wrapper in (
            ("train", self._train),
            ("get_train_dataloader", self._get_train_dataloader),
            ("_init_training_state", self._init_training_state),
            ("_evaluate", self._evaluate),
            ("_maybe_log_save_evaluate", self._maybe_log_save_evaluate),
            ("_finalize_training", self._finalize_training),
            ("_save_checkpoint", self._save_checkpoint),
            ("_load_from_checkpoint", functools.partial(self._load, self._load_model)),
            ("_load_optimizer_and_scheduler", functools.partial(self._load, self._load_optimizer)),
            ("_load_scaler", functools.partial(self._load, self._load_scaler)),
            ("_load_rng_state", functools.partial(self._load, lambda _: self._finish_resume())),
        ):
            patching.wrap(trainer, name, wrapper)

    # --- what there is ----------------------------------------------------------------------------

    def state_digest(self) -> str:
        """BLAKE3 of what two runs have in common at the same place: weights, optimizer, state, random states, …"""
        self._with_times = False
        try:
            return super().state_digest()
        finally:
            self._with_times = True

    # --- a training -------------------------------------------------------------------------------

    def _train(
        self, train: Callable[..., Any], resume_from_checkpoint: Any = None, *more: Any, **options: Any
    ) -> Any:
        wanted = self._wanted(resume_from_checkpoint)
        self._behind: Mapping[str, Any] | None = None
        self._with_times = True
        # While the state is compared with what was saved, which may have been of a shorter training.
        self._length_then: Mapping[str, Any] = {}
        self._parts = Handover(trainers.PARTS, self._take)
        self._found: Mapping[str, Any] | None = None
        self._processes = Processes(self._trainer.args.world_size, trainers.broadcast)
        self._attributes = Attributes({"model": self._trainer.model})
        self._extensions = Extensions(self._trainer)
        self._settings = ScriptSettings(
            trainers.settings_of(self._trainer), trainers.RESTORED, advice=trainers.ADVICE
        )
        if not self._trainer.is_world_process_zero():
            with trainers.skipping_nothing(), leaving_signals_to_process_0(self._policy):
                if (path := trainers.broadcast(None)) is not None:
                    with open_checkpoint(path) as checkpoint:
                        self._found, self._behind = checkpoint["transformers"], checkpoint["run"]["position"]
                return self._train_once(lambda folder: train(folder, *more, **options))
        lacking = self._begin_lacking(self._at_work, trainers.HAND_OVER)
        loop = self._loop = self._given.loop(
            *({"transformers": self._parts}, self._get_position, ("transformers/trainer/**",)),
            lacking=lambda: [*lacking.found, *self._extensions.lacking],
            variables=self._hold_attributes(
                lambda: trainers.holders(self._trainer),
                self._at_work,
                self._trainer,
                lambda: trainers.saving_themselves(self._trainer),
                num_processes=self._trainer.args.world_size,
            ),
        )
        with loop.holding(), trainers.skipping_nothing(), closing(lacking), ExitStack() as until:
            lacking.begin()
            with self._parts.expecting():
                self._behind = loop.resume(wanted)
            then = None if self._behind is None else self._behind.get("settings")
            self._check_counts(then)
            until.enter_context(trainers.seeds_of(self._trainer.args, then))
            self._found = self._parts.given
            if self._trainer.args.world_size > 1:
                trainers.broadcast(None if self.last_resume is None else self.last_resume.path)
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
                    self._found, self._has_rolled_back = self._parts.given, True

    def _at_work(self) -> dict[str, Any]:
        return trainers.at_work(self._trainer) | self._extensions.at_work()

    def _check_counts(self, then: Mapping[str, Any] | None) -> None:
        """PlanMismatchError if updates were counted otherwise."""
        now, name = trainers.settings_of(self._trainer), trainers.COUNTED
        if then is not None and then[name] != now[name]:
            raise PlanMismatchError(
                [
                    f"{name} was {then[name]} and is now {now[name]}, by which the updates of an epoch are counted"
                ],
                "run",
                f"Pass {name}={then[name]}, or start again with resume=False in another directory.",
            )

    def _wanted(self, resume_from_checkpoint: Any) -> Resume:
        """What `train` is told has the last word; None is its default."""
        if resume_from_checkpoint is None:
            return self._given.resume
        asked = Resume.of(resume_from_checkpoint, cannot={"prove": CANNOT_PROVE})
        source = asked.source
        if not isinstance(source, bool) and find(source, directory=os.fspath(self._given.directory)) is None:
            own = path_of(source)
            if os.path.isfile(os.path.join(own, "trainer_state.json")):
                raise UsageError(
                    f"{own} is a checkpoint of the Trainer's own: a Trainer resumes from it without hold()"
                )
        return asked

    def _train_once(self, train: Callable[[str | None], Any]) -> Any:
        """From the beginning, or from what is behind; to the end, or until it diverges."""
        self._loader: loaders.ReadyLoader | None = None
        self._at: str | None = None
        self._owes = self._owes_epoch = self._ended = False
        self._updates: Updates | None = None
        self._compiled: list[str] = []
        self._epoch = self._next_epoch = self._began_at = 0
        self._latest: dict[str, float] = {}
        if self._behind is None:
            return train(None)
        check_number(1 + len(self._behind.get("others", ())), self._trainer.args.world_size)
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
        self._begin_attributes()
        work = trainers.at_work(self._trainer)
        model = self._trainer.accelerator.unwrap_model(work["model"])
        self._updates = Updates({"model": model, "optimizer": work["optimizer"]})
        if self._behind is None:
            self._tell("phase_start", step=state.global_step)

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **more: Any) -> None:
        self._epoch, self._ended = self._next_epoch, False
        self._next_epoch += 1
        self._began_at = state.global_step

    def on_step_end(self, args: Any, state: Any, control: Any, **more: Any) -> None:
        self._at = "step"

    def on_epoch_end(self, args: Any, state: Any, control: Any, **more: Any) -> None:
        self._at = "epoch"

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **more: Any) -> None:
        row = trainers.numbers(logs or {})
        self._latest |= row
        if self._loop is not None:
            self._loop.results.append({"step": state.global_step, **row})

    def on_train_end(self, args: Any, state: Any, control: Any, **more: Any) -> None:
        if not self._ended:
            self._ended = True
            self._announce("phase_end")
        if self._updates is not None:
            self._updates.close()

    def _maybe_log_save_evaluate(self, original: Callable[..., Any], *more: Any, **options: Any) -> Any:
        done = original(*more, **options)
        at, self._at = self._at, None
        if at == "step":
            # What ends an epoch comes after its last update, and a checkpoint between the two would skip it.
            self._owes = float(self._trainer.state.epoch or 0).is_integer() or self._is_at_end_of_stream
            if not self._owes:
                self._announce("batch_end")
        elif at == "epoch":
            if self._owes:
                self._owes, self._owes_epoch = False, True
                self._announce("batch_end")
                self._owes_epoch = False
            self._announce("epoch_end")
        return done

    def _evaluate(self, original: Callable[..., Any], *more: Any, **options: Any) -> Any:
        """All but what `eval_on_start` asks for once more, though the run that resumes has had it."""
        if self._behind is not None:
            if self._saved_state.global_step:
                return {}
            self._finish_resume()  # it was saved before that, and what evaluating draws counts
        return original(*more, **options)

    def _finalize_training(self, original: Callable[..., Any], *more: Any, **options: Any) -> Any:
        self._finish_resume()  # if it is not there yet, there was nothing left to train
        return original(*more, **options)

    def _announce(self, hook: str) -> None:
        state = self._trainer.state
        is_stopped = self._trainer.control.should_training_stop and state.global_step < state.max_steps
        if is_stopped and self._loop is not None and not hook.startswith("phase"):
            self._loop.stop("the training was stopped")  # the end comes only after one more row of the log
        batch = state.global_step - self._began_at - 1 if hook.startswith("batch") else None
        epoch = None if hook.startswith("phase") else self._epoch
        self._tell(hook, epoch=epoch, batch=batch, step=state.global_step, metrics=self._latest)

    def _save_checkpoint(self, original: Callable[..., Any], *more: Any, **options: Any) -> None:
        """In place of the Trainer's own: the policy decides, and has its say after this."""

    def _get_train_dataloader(self, original: Callable[[], Any]) -> Any:
        then = None if self._behind is None else self._behind.get("initial_seed")
        with trainers.one_process_reads(self._trainer), trainers.seeded(then):
            self._initial_seed = torch.initial_seed()  # by which accelerate orders the samples
            prepared = original()
        reread = self._given.allow_reread
        self._loader = loaders.hold(prepared, on_resumed=self._finish_resume, allow_reread=reread)
        check_position(self._loader.source, self._policy)
        if self._behind is not None:
            self._check_length(self._behind.get("per_epoch"))
            with rng.preserved():
                self._loader.set_state(self._own_part(self._behind)["loader"])
        return prepared

    def _check_length(self, then: int | None) -> None:
        """PlanMismatchError if an epoch had another number of updates, by which the Trainer finds its place."""
        if then is not None and self._per_epoch is not None and then != self._per_epoch:
            raise PlanMismatchError(
                [
                    f"an epoch had {then} updates and has {self._per_epoch} now: there are other data, or other batches"
                ],
                "run",
                "Resume with the same data and batch size, or start again with resume=False in another directory.",
            )

    @property
    def _known_loader(self) -> loaders.ReadyLoader:
        assert self._loader is not None
        return self._loader

    @property
    def _per_epoch(self) -> int | None:
        """Updates of an epoch; None of a stream, whose end nobody knows."""
        if not has_length(self._known_loader):
            return None
        return math.ceil(len(self._known_loader) / self._trainer.args.gradient_accumulation_steps)

    @property
    def _is_at_end_of_stream(self) -> bool:
        return self._per_epoch is None and _is_over(self._known_loader.get_state())

    # --- state ------------------------------------------------------------------------------------

    def _take(self) -> dict[str, Any]:
        parts = trainers.parts_of(self._trainer, with_times=self._with_times)
        return {**parts, "trainer": {**parts["trainer"], **self._length_then}}

    def _get_own(self) -> dict[str, Any]:
        """What a process beside 0 has for itself."""
        self._trainer.store_flos()  # all do it together
        return {
            "loader": self._known_loader.get_state(),
            "course": trainers.get_course(self._trainer),
            **self._changed_attributes(),
            "extensions": self._extensions.get_state(with_modules=False),
            **self._gradients(),
            "random": rng.capture_state(),
        }

    def _get_position(self) -> dict[str, Any]:
        source = self._known_loader.source
        others: list[Any] = []
        if self._is_saving and self._trainer.args.world_size > 1:
            others = self._processes.gather_others(self._trainer.store_flos)
        return {
            "others": others,
            "epoch": self._epoch,
            "began_at": self._began_at,
            "ended": self._ended,
            "owes_epoch_end": self._owes_epoch,
            "latest": dict(self._latest),
            "stopped": self._trainer.control.should_training_stop,
            "course": trainers.get_course(self._trainer),
            **self._changed_attributes(),
            "extensions": self._extensions.get_state(with_times=self._with_times),
            **self._gradients(),
            "settings": self._settings.followed,
            "per_epoch": self._per_epoch,
            "initial_seed": self._initial_seed,
            "loader": self._known_loader.get_state(),
            "exactness": source.exactness,
            "about_data": [source.describe()],
            "next_batch": source.fingerprint(),
        }

    def _gradients(self) -> dict[str, Any]:
        """Those that wait for an update, at the end of a stream; and what was seen of how used ones are cleared."""
        if self._updates is None:
            return {}
        return {"gradients": self._updates.pending, "stale_gradients": self._updates.seen}

    def _changed_attributes(self) -> dict[str, Any]:
        changed = self._attributes.get_state()
        return {"attributes": changed} if changed else {}

    # --- resuming ---------------------------------------------------------------------------------

    @property
    def _saved_state(self) -> TrainerState:
        assert self._found is not None
        return TrainerState(**self._found["trainer"])

    def _load(
        self,
        ours: Callable[[Mapping[str, Any]], None],
        original: Callable[..., Any],
        checkpoint: Any,
        *more: Any,
        **options: Any,
    ) -> Any:
        """Load what was found, or leave it to the Trainer if this is a checkpoint of its own."""
        return original(checkpoint, *more, **options) if self._found is None else ours(self._found)

    def _load_model(self, found: Mapping[str, Any]) -> None:
        model: Any = self._trainer.accelerator.unwrap_model(self._trainer.model)
        self._compiled = compiled_differently(live := model.state_dict(), found["model"])
        model.load_state_dict(named_as_live(live, found["model"]))

    def _load_optimizer(self, found: Mapping[str, Any]) -> None:
        trainer: Any = self._trainer
        trainer.optimizer.load_state_dict(found["optimizer"])
        lay_out(getattr(trainer.optimizer, "optimizer", trainer.optimizer))  # inside of accelerate's
        trainer.lr_scheduler.load_state_dict(found["scheduler"])

    def _load_scaler(self, found: Mapping[str, Any]) -> None:
        scaler: Any = self._trainer.accelerator.scaler
        if found["scaler"] is not None:
            scaler.load_state_dict(found["scaler"])

    def _init_training_state(self, original: Callable[..., Any], *more: Any, **options: Any) -> Any:
        epochs, steps = original(*more, **options)
        behind = self._behind
        if behind is not None and behind["stopped"] and not self._is_extended:
            epochs, steps = more[2], 0
        elif behind is not None and self._per_epoch is None:  # the Trainer takes a stream for one long epoch
            loader = self._own_part(behind)["loader"]
            updates = 0 if _is_over(loader) else self._saved_state.global_step - behind["began_at"]
            epochs, steps = loader["epoch"], updates * self._trainer.args.gradient_accumulation_steps
        self._next_epoch = epochs
        return epochs, steps

    @property
    def _is_extended(self) -> bool:
        """Whether the training was over, all its updates done, and is to have more now."""
        then = self._saved_state
        return then.max_steps <= then.global_step < self._trainer.state.max_steps

    def _own_part(self, saved: Mapping[str, Any]) -> Mapping[str, Any]:
        """Of what was saved, what this process had for itself."""
        rank = self._trainer.args.process_index
        return saved["others"][rank - 1] if rank else saved

    def _finish_resume(self) -> None:
        """The Trainer is where it was when it was saved: from here on all is as it would have been."""
        if self._behind is None:
            return
        saved, self._behind = self._behind, None
        self._epoch = max(self._epoch, saved["epoch"])  # between two epochs, the next one has begun
        if self._epoch == saved["epoch"]:
            self._began_at = saved["began_at"]
        self._ended, self._latest = saved["ended"], dict(saved["latest"])
        own = self._own_part(saved)
        trainers.set_course(self._trainer, own["course"])
        if self._updates is not None:
            count, gradients = self._trainer.state.global_step, own.get("gradients", {})
            self._updates.resume(count, gradients, own.get("stale_gradients", {}))
        if self._is_extended:
            self._ended = self._trainer.control.should_training_stop = False
        elsewhere = self._attributes.set_state(own.get("attributes", {}))
        elsewhere += self._extensions.set_state(own.get("extensions", {}), saved.get("extensions", {}))
        if self._loop is None:
            rng.restore_state(own["random"])
        else:
            self._length_then = {name: getattr(self._saved_state, name) for name in trainers.LENGTH}
            try:
                self._finish_loop(lambda: [*self._differences(saved), *elsewhere])
            finally:
                self._length_then = {}
        if saved.get("owes_epoch_end"):
            self._end_epoch(saved)

    def _end_epoch(self, saved: Mapping[str, Any]) -> None:
        """It was saved after an epoch's last batch, and the end of that epoch is still to be told: the Trainer resumes in the next."""
        now = self._epoch, self._began_at
        self._epoch, self._began_at = saved["epoch"], saved["began_at"]
        self._announce("epoch_end")
        self._epoch, self._began_at = now

    def _differences(self, saved: Mapping[str, Any]) -> list[str]:
        source = self._known_loader.source
        has_next = not saved["loader"]["source"]["finished"]
        is_another = has_next and saved["next_batch"] != source.fingerprint()
        found = differences(saved, [source], is_another_batch=is_another)
        found += self._compiled
        found += trainers.callback_differences(self._trainer, saved["course"]["callbacks"])
        found += self._compare_settings(self._settings, saved.get("settings"))
        then, now = self._saved_state.max_steps, self._trainer.state.max_steps
        if then != now and self._trainer.args.lr_scheduler_type != "constant":
            found.append(f"the learning rate's schedule was made for {then} updates, and is now for {now}")
        if self._is_extended and self._per_epoch is not None and then % self._per_epoch:
            found.append(
                f"max_steps={then} had ended an epoch in its middle, and what is done at an epoch's end was done there"
            )
        return found


def _is_over(loader: Mapping[str, Any]) -> bool:
    """Whether the saved position in the data is the end of an epoch."""
    return bool(loader["source"]["finished"]) and not loader["ready"]
