"""`HoldfastCallback`: makes `Trainer.fit` resumable."""

from __future__ import annotations

import os
import signal
import warnings
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from functools import partial
from typing import Any, Literal, final

import lightning.pytorch as pl
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.strategies import DDPStrategy, SingleDeviceStrategy
from lightning.pytorch.trainer import call
from lightning.pytorch.trainer.connectors import data_connector

from ... import rng
from ...checkpoint import Place
from ...checkpoint import open as open_checkpoint
from ...errors import DivergenceError, UsageError
from ...policy import Checkpointing
from ...runtime import Loop, Resume
from ...runtime.torch_updates import Updates
from ...runtime.torch_watch.attributes import Attributes
from ...state.adapters.torch_nn import compiled_differently, named_as_live
from ...variables import Mode
from .._common import patching
from .._common.handover import Handover
from .._common.held_training import HeldTraining, check_number, differences
from .._common.left_open import close_by
from .._common.loader_proxy import held_class
from .._common.processes import Processes, leaving_signals_to_process_0, watched_handlers
from . import _changes as changes
from . import _data as data
from . import _trainer as trainers
from ._io import BundleReader, HoldfastCheckpointIO

Within = Literal["start", "epoch", "batches", "between"]
"""Before the first epoch; in an epoch, before or among its batches; after an epoch."""
_OF_LIGHTNING = frozenset(vars(pl.LightningModule()))
_STARTS = ("phase_start", "epoch_start", "batch_start")


class _Left(Exception):
    """A fit has ended by none of its own errors."""


@final
class HoldfastCallback(HeldTraining, Checkpoint):
    """Saves a Lightning run by a policy, and resumes from what it saved.

    `fit` resumes from the newest complete checkpoint of `directory`, or from scratch if there is none;
    `fit(ckpt_path=…)` from the bundle at that path. With DDP, process 0 writes what all of them need.

    Args:
        directory: where checkpoints are saved, and looked for.
        checkpointing: when to save and what to keep; by default `Checkpointing.default()`.
        resume: True: resume from the newest complete checkpoint, or start from scratch if there is none. A name or path:
            from that checkpoint. False: start from scratch. A `Resume` says how as well.
        label: what is trained, in names such as `train_epoch3`.
        allow_reread: whether data without a position may be read again from the start of an epoch, to skip what was done.
        share_directory: run even though another live run uses the directory.
        variables: "save": variables of the script that have changed since the loop began are saved and put back, too,
            and those that cannot be are named. "watch": all of them are only named. "off": they are the script's affair.
        on_rollback: called with the callback or run after each rollback (`on_divergence="rollback"`), once everything is
            as it was in the checkpoint: the place to lower a learning rate.

    Raises (from `fit`):
        UsageError: the trainer's strategy cannot work here; one of the arguments, when it is made.
        PlanMismatchError: the checkpoint is of another kind of run, or of another number of processes.
        RunActiveError: another live run uses the directory.
        DamagedError: there are checkpoints, and none can be used.
    """

    _begins = "trainer.fit() has begun, in process 0"

    def __init__(
        self,
        directory: str | os.PathLike[str],
        *,
        checkpointing: Checkpointing | None = None,
        resume: bool | Place | Resume = True,
        label: str = "train",
        allow_reread: bool = False,
        share_directory: bool = False,
        variables: Mode = "save",
        on_rollback: Callable[[HoldfastCallback], None] | None = None,
    ) -> None:
        self._given = trainers.ABILITIES.check(
            directory, checkpointing, resume, label, allow_reread, share_directory, variables, on_rollback
        )
        self._policy = self._given.policy
        self._loop: Loop | None = None  # of process 0
        self._stack = ExitStack()

    # --- what Lightning calls ---------------------------------------------------------------------

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        if not isinstance(trainer.strategy.checkpoint_io, HoldfastCheckpointIO | BundleReader):
            trainer.strategy.checkpoint_io = BundleReader(trainer.strategy.checkpoint_io)
        if stage != "fit":
            return
        if not isinstance(trainer.strategy, SingleDeviceStrategy | DDPStrategy):
            raise UsageError(
                f"{type(trainer.strategy).__name__} spreads a model over devices, and this callback saves unsharded ones: "
                "use one device or DDP."
            )
        self._check_rollback(trainer.world_size)
        self._trainer, self._module = trainer, pl_module
        self._processes = Processes(trainer.world_size, trainer.strategy.broadcast)
        self._within: Within = "start"
        self._ended = self._announced = self._is_trial = self._is_running = self._is_past = False
        self._compiled: list[str] = []
        self._epoch: int | None = None
        self._behind: Mapping[str, Any] | None = None  # what is to be put back when the loops are there
        self._num_held = 0
        self._updates: Updates | None = None
        self._validation, self._made = data.ValidationWorkers(), data.MadeAnew()
        self._attributes = Attributes({"model": pl_module}, _OF_LIGHTNING)
        self._parts = Handover(trainers.PARTS, self._take)
        self._handlers_before = watched_handlers(self._policy)
        self._stack.callback(
            data.let_go, trainer
        )  # the last of all: what an exception leaves is saved before
        if not trainer.is_global_zero:
            self._stack.enter_context(leaving_signals_to_process_0(self._policy))
        else:
            lacking = self._begin_lacking(lambda: trainers.at_work(trainer), trainers.HAND_OVER)
            self._loop = self._given.loop(
                *({"lightning": self._parts}, self._get_position, ("lightning/trainer/**",)),
                lacking=lambda: lacking.found,
                variables=self._hold_attributes(
                    lambda: trainers.holders(trainer),
                    lambda: trainers.at_work(trainer),
                    trainer,
                    lambda: trainers.saving_themselves(trainer),
                    num_processes=trainer.world_size,
                ),
            )
            self._stack.enter_context(self._loop.holding())
        self._hook_into(trainer)

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._settings = changes.settings(trainer)
        self._script = changes.script_settings(trainer)
        if self._behind is not None:  # a finder of learning rates has loaded its own checkpoint since
            trainer._checkpoint_connector._loaded_checkpoint = self._for_lightning(self._behind["checkpoint"])
        optimizers = {f"optimizer {index}": each for index, each in enumerate(trainer.optimizers)}
        self._updates = Updates({"model": pl_module, **optimizers})
        self._stack.callback(self._updates.close)
        if self._loop is not None:
            self._lacking.begin()
            self._stack.callback(self._lacking.close)

    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self._behind is not None:  # there was nothing left to train
            self._finish_resume()
        self._stack.close()

    def on_exception(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException
    ) -> None:
        combined = trainer.fit_loop._combined_loader
        if combined is not None and combined._iterator is None:
            # The data could not begin. Lightning would ask for their length, and an error of its own hide this one.
            trainer.fit_loop._data_fetcher = None
        self._stack.__exit__(type(exception), exception, exception.__traceback__)

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """What a `Tuner` has sought before the fit ends in its middle, and tells no other hook: nothing was trained."""
        if stage == "fit":
            close_by(_Left("the fit was left by a tuner"), self._stack)

    # --- between the loops' steps -----------------------------------------------------------------

    def _hook_into(self, trainer: pl.Trainer) -> None:
        """Be called between the steps of the loops, where no callback is; private names, tested for each version."""
        fit_loop, epoch_loop, stack = trainer.fit_loop, trainer.fit_loop.epoch_loop, self._stack

        def wrap(owner: Any, name: str, wrapper: Callable[..., Any]) -> None:
            def unless_trial(original: Callable[..., Any], *args: Any, **options: Any) -> Any:
                if self._is_apart:
                    return original(*args, **options)
                return wrapper(original, *args, **options)

            patching.wrap(owner, name, unless_trial, stack)

        def after(owner: Any, name: str, act: Callable[[], None]) -> None:
            patching.after(owner, name, lambda: None if self._is_apart else act(), stack)

        wrap(trainer._checkpoint_connector, "resume_start", self._resume_start)
        wrap(trainer.strategy, "process_dataloader", self._hold_loader)
        patching.wrap(fit_loop, "run", self._run, stack)
        wrap(trainer._signal_connector, "register_signal_handlers", self._register_handlers)
        wrap(fit_loop, "setup_data", self._setup_data)
        wrap(fit_loop, "on_save_checkpoint", lambda of: data.without_empty_states(of()))
        after(fit_loop, "on_run_start", self._after_run_start)
        after(fit_loop, "on_advance_start", self._after_epoch_start)
        after(fit_loop, "on_advance_end", self._after_epoch)
        after(fit_loop, "on_run_end", self._after_run)
        wrap(epoch_loop, "reset", self._reset)
        after(epoch_loop, "on_run_start", self._after_batches_start)
        wrap(epoch_loop, "advance", self._advance)
        after(epoch_loop, "on_advance_end", self._after_batch)

    def _register_handlers(self, register: Callable[[], None]) -> None:
        """Let Lightning watch signals, but for those that the policy watches: it would end a step in its middle.

        At its end, which comes after ours, it puts back what it has found: that must not be our handlers.
        """
        ours = watched_handlers(self._policy)
        register()
        connector: Any = self._trainer._signal_connector
        connector._original_handlers |= self._handlers_before
        for number, handler in ours.items():
            signal.signal(number, handler)

    @property
    def _is_apart(self) -> bool:
        """Whether a finder is trying something out, also between its trials: then the trainer has other callbacks, or we know it."""
        return self._is_trial or all(each is not self for each in getattr(self._trainer, "callbacks", ()))

    def _run(self, run: Callable[[], None]) -> None:
        """The fit loop; again from a checkpoint, if what it trains has diverged and the policy says so."""
        if self._updates is None or self._is_running or self._is_apart:
            return self._try_out(run)
        self._is_running = True
        fit_loop: Any = self._trainer.fit_loop
        if self._num_held == 0:  # what a finder of batch sizes has made for its trials, and nobody holds
            fit_loop._combined_loader = fit_loop._data_fetcher = None
        while True:
            try:
                run()
                self._is_running = False
                if self._loop is not None:
                    self._loop.look()
                return None
            except DivergenceError as err:
                if self._loop is None or not err.can_roll_back:
                    raise
                with self._parts.expecting():
                    saved = self._loop.roll_back(err)
                assert self._parts.given is not None
                self._behind = self._own_part(saved, self._parts.given, err.newest_finite or "")
                self._num_held, self._has_rolled_back = 0, True
                trainers.begin_again(self._trainer, self._behind["checkpoint"])
                self._trainer.should_stop = saved["should_stop"]

    def _try_out(self, run: Callable[[], None]) -> None:
        """A few steps to find a learning rate or a batch size: Lightning undoes them, and they are none of the run's."""
        fit_loop: Any = self._trainer.fit_loop
        before = fit_loop._combined_loader, fit_loop._data_fetcher
        fit_loop._combined_loader = fit_loop._data_fetcher = None
        self._is_trial = True
        try:
            run()
        finally:
            self._is_trial = False
            fit_loop._combined_loader, fit_loop._data_fetcher = before

    @property
    def _is_reloading(self) -> bool:
        return bool(getattr(self._trainer, "reload_dataloaders_every_n_epochs", 0))

    def _setup_data(self, setup: Callable[[], None]) -> None:
        """A loader that is made anew every few epochs is made for the epoch in which it was made then."""
        made_in = None if self._behind is None else self._behind.get("reloaded")
        current: Any = self._trainer.fit_loop.epoch_progress.current
        now = current.processed, current.completed
        if self._is_reloading and made_in is not None and made_in >= 0:
            current.processed = current.completed = made_in
        try:
            setup()
        finally:
            current.processed, current.completed = now
        if self._is_reloading:
            self._made.look(self._trainer)

    def _hold_loader(self, process: Callable[[Any], Any], loader: Any) -> Any:
        loader = process(loader)
        if not self._trainer.training:
            if not self._is_reloading:
                self._validation.hold(loader)
            return loader
        # Lightning's advice on workers, which it gives on nothing but a DataLoader.
        data_connector._worker_check(self._trainer, loader, "train_dataloader")
        index, self._num_held = self._num_held, self._num_held + 1
        states = () if self._behind is None else self._behind["own"]["data"]
        epochs: Any = self._trainer.fit_loop.epoch_progress.current
        return held_class(loader)(
            loader,
            partial(getattr, epochs, "processed"),  # a trainer is pickled now and then
            allow_reread=self._given.allow_reread,
            state=states[index] if index < len(states) else None,
            num_ready=0 if self._behind is None else len(self._behind["own"].get("ready", ())),
        )

    def _after_run_start(self) -> None:
        self._begin_attributes()
        if self._behind is None:
            self._announce("phase_start")
        elif self._behind["within"] in ("start", "between"):
            self._finish_resume()

    def _after_epoch_start(self) -> None:
        self._within, self._epoch = "epoch", self._trainer.current_epoch
        if self._behind is None:
            self._ended = False
            self._announce("epoch_start")
            return
        # What the module prepares there is no part of its state; what it changes there is put back.
        call._call_lightning_module_hook(self._trainer, "on_train_epoch_start")
        if self._behind["within"] == "epoch":
            self._finish_resume()

    def _reset(self, reset: Callable[[], None]) -> None:
        with warnings.catch_warnings():
            if self._behind is not None:  # Lightning knows no loader that resumes but by a state of its own
                warnings.filterwarnings(
                    "ignore", "You're resuming from a checkpoint that ended before the epoch"
                )
            reset()

    def _after_batches_start(self) -> None:
        if self._behind is not None:
            self._finish_resume()
        self._within = "batches"

    def _advance(self, advance: Callable[..., Any], *args: Any, **options: Any) -> Any:
        if not self._announced:
            self._announced = True
            self._announce("batch_start", batch=self._trainer.fit_loop.epoch_loop.batch_idx + 1)
        return advance(*args, **options)

    def _after_batch(self) -> None:
        self._announced = False
        self._announce("batch_end", batch=self._trainer.fit_loop.epoch_loop.batch_idx)

    def _after_epoch(self) -> None:
        self._within = "between"
        if self._loop is not None:
            row = {"step": self._trainer.global_step, "epoch": self._epoch, **trainers.numbers(self._trainer)}
            self._loop.results.append(row)
        self._announce("epoch_end")
        self._epoch = None

    def _after_run(self) -> None:
        if not self._ended:
            self._ended = True
            if self._loop is not None and self._trainer.should_stop:
                self._loop.stop("the fit was stopped")
            self._announce("phase_end")

    def _announce(self, hook: str, batch: int | None = None) -> None:
        if hook in _STARTS and hook not in self._policy.save_on:
            return
        metrics = trainers.numbers(self._trainer) if self._loop is not None and self._is_worth(hook) else {}
        self._tell(hook, epoch=self._epoch, batch=batch, step=self._trainer.global_step, metrics=metrics)

    def _is_worth(self, hook: str) -> bool:
        """Whether to wait for a device for the sake of metrics: at each batch that is saved, and no other."""
        on_cpu = self._trainer.strategy.root_device.type == "cpu"
        return on_cpu or not hook.startswith("batch") or self._known.policy.explain(hook) is not None

    # --- state ------------------------------------------------------------------------------------

    def _take(self) -> dict[str, Any]:
        with data.without_states(self._trainer):
            checkpoint = self._trainer._checkpoint_connector.dump_checkpoint(weights_only=False)
        now = changes.settings(self._trainer)
        checkpoint[trainers.BESIDE] = {
            "weights": changes.weights_in_use(self._trainer, checkpoint),
            "settings": {name: value for name, value in now.items() if self._settings.get(name) != value},
        }
        return trainers.parts_of(checkpoint)

    def _get_position(self) -> dict[str, Any]:
        sources, own = data.sources_of(self._trainer), self._get_own()
        if self._trainer.world_size > 1 and self._is_saving:
            own["others"] = self._processes.gather_others()
        exact = [changes.exactness(self._trainer), *(each.exactness for each in sources)]
        return {
            "within": self._within,
            "announced": self._announced,
            "ended": self._ended,
            "cut": self._within == "between" and trainers.is_cut_short(self._trainer),
            "epoch": self._epoch,
            "should_stop": bool(self._trainer.should_stop),
            "reloaded": self._trainer.fit_loop._last_train_dl_reload_epoch,
            "world_size": self._trainer.world_size,
            "script": self._script.followed,
            "contents": self._made.contents,
            "own": own,
            "exactness": next((each for each in exact if each != "exact"), "exact"),
            "about_data": [each.describe() for each in sources],
            "next_batches": [each.fingerprint() for each in sources] if self._within == "batches" else None,
        }

    def _get_own(self) -> dict[str, Any]:
        """What each process has for itself; process 0 has its random states in every checkpoint anyway."""
        own = data.get_state(self._trainer) | {
            "gradients": {} if self._updates is None else self._updates.pending,
            "stale_gradients": {} if self._updates is None else self._updates.seen,
            "metrics": trainers.get_metrics(self._trainer),
            "validation": self._validation.get_state(),
            **({"attributes": changed} if (changed := self._attributes.get_state()) else {}),
        }
        return own if self._loop is not None else own | {"random": rng.capture_state()}

    # --- resuming ---------------------------------------------------------------------------------

    def _resume_start(
        self, original: Callable[..., None], path: Any = None, *more: Any, **options: Any
    ) -> None:
        """In place of Lightning's reading of `ckpt_path`: what follows restores from what is left here."""
        path = options.pop("checkpoint_path", path)
        if path is not None and not data.is_ours(path, os.fspath(self._given.directory)):
            return original(path, *more, **options)
        found = self._find(self._given.resume if path is None else Resume(os.fspath(path)))
        if found is None:
            return original(None, *more, **options)
        self._behind = found
        connector = self._trainer._checkpoint_connector
        connector._ckpt_path = found["path"]
        connector._loaded_checkpoint = self._for_lightning(found["checkpoint"])
        self._trainer.should_stop = found["should_stop"]
        return None

    def _for_lightning(self, checkpoint: dict[str, Any]) -> dict[str, Any]:
        """Not further than this fit goes, which Lightning would refuse: a script that calls `fit` twice was in the second."""
        done, most = (
            checkpoint["loops"]["fit_loop"]["epoch_progress"]["current"]["processed"],
            self._trainer.max_epochs,
        )
        self._is_past = most not in (None, -1) and done > most
        return trainers.in_epoch(checkpoint, moved=most - done) if self._is_past and most else checkpoint

    def _find(self, wanted: Resume) -> dict[str, Any] | None:
        """What to resume from, in every process what concerns it."""
        strategy = self._trainer.strategy
        if self._loop is None:
            path = strategy.broadcast(None)
            if path is None:
                return None
            with open_checkpoint(path) as checkpoint:
                parts, saved = checkpoint["lightning"], checkpoint["run"]["position"]
        else:
            with self._parts.expecting():
                saved = self._loop.resume(wanted)
            path = None if saved is None or self.last_resume is None else self.last_resume.path
            if self._trainer.world_size > 1:
                strategy.broadcast(path)
            if saved is None:
                return None
            assert path is not None
            assert self._parts.given is not None
            parts = self._parts.given
        return self._own_part(saved, parts, path)

    def _own_part(self, saved: Mapping[str, Any], parts: Mapping[str, Any], path: str) -> dict[str, Any]:
        """Of what was saved at `path`, what concerns this process."""
        check_number(saved["world_size"], self._trainer.world_size, path)
        rank = self._trainer.global_rank
        own = saved["own"] if rank == 0 else saved["own"]["others"][rank - 1]
        checkpoint, live = trainers.checkpoint_of(parts), self._module.state_dict()
        self._compiled = compiled_differently(live, checkpoint["state_dict"])
        checkpoint["state_dict"] = named_as_live(live, checkpoint["state_dict"])
        most = self._trainer.max_steps
        if saved.get("cut") and (most == -1 or checkpoint["global_step"] < most):
            # More is to be trained now, and the epoch has batches left.
            checkpoint = trainers.in_epoch(checkpoint, moved=-1)
            epoch = checkpoint["loops"]["fit_loop"]["epoch_progress"]["current"]["processed"]
            saved = {**saved, "within": "batches", "announced": False, "ended": False, "epoch": epoch}
        return {**saved, "own": own, "path": path, "checkpoint": checkpoint}

    def _finish_resume(self) -> None:
        """The loops are where they were when it was saved: from here on all is as it would have been."""
        assert self._behind is not None
        assert self._updates is not None
        saved, self._behind = self._behind, None
        trainers.put_back(self._trainer, saved["checkpoint"])
        trainers.set_metrics(self._trainer, saved["own"]["metrics"])
        own = saved["own"]
        self._updates.resume(self._trainer.global_step, own["gradients"], own.get("stale_gradients", {}))
        elsewhere = self._attributes.set_state(saved["own"].get("attributes", {}))
        self._validation.set_state(saved["own"].get("validation", ()))
        data.put_back(self._trainer, saved["own"], is_among_batches=saved["within"] == "batches")
        if "reloaded" in saved:
            self._trainer.fit_loop._last_train_dl_reload_epoch = saved["reloaded"]
        self._within, self._announced, self._ended = saved["within"], saved["announced"], saved["ended"]
        self._epoch = saved["epoch"]
        if self._loop is not None:
            self._finish_loop(lambda: [*self._differences(saved), *elsewhere])
        else:
            rng.restore_state(saved["own"]["random"])

    def _differences(self, saved: Mapping[str, Any]) -> list[str]:
        sources = data.sources_of(self._trainer)
        now = [each.fingerprint() for each in sources]
        is_known = saved["within"] == "batches" and saved["next_batches"] is not None and not self._is_past
        found = differences(saved, sources, is_another_batch=is_known and saved["next_batches"] != now)
        found += self._compiled + self._made.differences(saved.get("contents"))
        if saved.get("cut") and saved["within"] == "batches":
            found.append(
                f"max_steps had ended epoch {saved['epoch']} in its middle, and what is done at an epoch's end was done there"
            )
        return found + self._compare_settings(self._script, saved.get("script"))
