"""`HoldfastCallback`: makes `Model.fit` resumable."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from typing import Any, final

import keras

from ... import rng, state
from ...checkpoint import Place
from ...data import differences_of
from ...errors import UsageError
from ...policy import Checkpointing
from ...runtime import Lacking, Loop, Resume
from ...variables import Held, Mode, Variables
from .._common.handover import Handover
from .._common.holders import by_class
from .._common.left_open import LeftOpen, close_by
from .._common.reporting import Reporting
from ._at_work import HAND_OVER, KerasOptimizers
from ._data import FitData
from ._state import (
    ABILITIES,
    First,
    Skipping,
    frames_of_fit,
    get_seeds,
    layers_of,
    set_seeds,
    settings_of,
    siblings,
    tell_of_errors,
)

_BETWEEN = ("phase_start", "epoch_end", "phase_end")
"""Hooks after which the next thing is an epoch's beginning."""
_left_open = LeftOpen()


@final
class HoldfastCallback(Reporting, keras.callbacks.Callback):
    """One `model.fit` in a directory: it resumes from the newest complete checkpoint there, if there is one.

    Saved are the weights, the optimizer, metrics, seeds, what training has changed in the other callbacks
    (`EarlyStopping`, `ReduceLROnPlateau`, the history), the place in the data and the random states.

    Args:
        directory: where checkpoints are saved, and looked for.
        checkpointing: when to save and what to keep; by default `Checkpointing.default()`.
        resume: True: resume from the newest complete checkpoint, or start from scratch if there is none. A name or path:
            from that checkpoint. False: start from scratch. A `Resume` says how as well.
        label: what is trained, in names such as `train_epoch3`.
        allow_reread: whether data without a position may be read again from the start of an epoch, to skip what was done.
            Keras gives its data no position: this is always done.
        share_directory: run even though another live run uses the directory.
        variables: "save": variables of the script that have changed since the loop began are saved and put back, too,
            and those that cannot be are named. "watch": all of them are only named. "off": they are the script's affair.
        on_rollback: called with the callback or run after each rollback (`on_divergence="rollback"`), once everything is
            as it was in the checkpoint: the place to lower a learning rate.
            Refused: a fit of Keras only goes forward.

    Raises (when training begins):
        UsageError: the backend is TensorFlow, or `steps_per_execution` is not 1, or it is not called by `fit`.
        StateMismatchError: the checkpoint has other variables than the model, by name, shape or type; nothing was changed.
        RunActiveError: another live run uses the directory.
        DamagedError: there are checkpoints, and none can be used.
    """

    _begins = "model.fit() has begun"

    _model: Any  # which Keras sets before training begins
    params: Any

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
        super().__init__()
        self._arguments = ABILITIES.check(
            directory, checkpointing, resume, label, allow_reread, share_directory, variables, on_rollback
        )
        self._loop: Loop | None = None

    # --- a training -------------------------------------------------------------------------------

    def on_train_begin(self, logs: Any = None) -> None:
        model: Any = self._model
        _check(model)
        listed, iterator, validation = frames_of_fit(model)
        others = [each for each in listed.callbacks if each is not self and not isinstance(each, First)]
        # A new list, for the old one is being gone through: from now on we see what all others have done.
        first = First(on_epoch_begin=self._before_epoch, on_train_end=self._before_end)
        listed.callbacks = [first, *others, self]
        self._siblings = siblings(others)
        self._data, self._script = FitData(iterator, validation), settings_of(model)
        self._epoch, self._batch, self._step, self._at = 0, 0, 0, "phase_start"
        self._before: Any = None
        self._latest: dict[str, float] = {}
        self._saved: Mapping[str, Any] | None = None
        self._begin(model, listed, iterator)

    def _begin(self, model: Any, listed: Any, iterator: Any) -> None:
        self._stack = ExitStack()
        _left_open.begin(self._arguments.directory, self._let_go, self._stack)
        callbacks = Handover(["changed"], lambda: {"changed": self._siblings.take()})
        optimizers = KerasOptimizers(model)
        others = [each for each in listed.callbacks if not isinstance(each, First | HoldfastCallback)]
        variables = self._variables = Variables(
            self._arguments.variables,
            lambda: {"model": model},
            lambda: [self, model],
            lambda found: self._known.add_differences(found),
            held=Held(
                lambda: {**layers_of(model), **by_class(others)}, roots=lambda: [model, listed, *others]
            ),
        )
        variables.ignore(self._ignored)
        variables.begin()
        lacking = self._lacking = Lacking(
            lambda: {"model": model},
            lambda found: self._known.lack(found, HAND_OVER),
            others=lambda: optimizers.found,
        )
        loop = self._loop = self._arguments.loop(
            *({"model": model, "callbacks": callbacks}, self._get_position, ("callbacks/**",)),
            lacking=lambda: lacking.found,
            variables=variables,
        )
        self._stack.callback(optimizers.close)
        self._stack.enter_context(loop.holding())
        lacking.begin()
        self._stack.callback(lacking.close)
        try:
            with callbacks.expecting():
                self._saved = loop.resume(self._arguments.resume)
            self._skipping = Skipping(model, self._let_go)
            tell_of_errors(model, listed, iterator, self._let_go, until=self._stack)
            if self._saved is None:
                self._announce("phase_start")
                return
            assert callbacks.given is not None
            self._given = callbacks.given["changed"]
            self._snapshot = state.capture({"model": model})
            is_over = self._saved["stopped"]
            model._initial_epoch = self.params["epochs"] if is_over else self._saved["epoch"]
        except BaseException as err:
            self._stack.__exit__(type(err), err, err.__traceback__)
            raise

    def _before_epoch(self, epoch: int, logs: Any = None) -> None:
        self._model._initial_epoch = None  # it is for one fit
        if self._saved is not None and self._saved["at"] in _BETWEEN:
            self._finish_resume()
            self._model.reset_metrics()

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        if (saved := self._saved) is not None:
            rng.restore_state(saved["before"])
            set_seeds(saved["seeds_before"])
            self._skipping.skip(saved["batch"], self._model.get_metrics_result())
            self._finish_resume_at("epoch_start")
            return
        self._epoch, self._batch = epoch, 0
        self._before, self._seeds_before = rng.capture_state(), get_seeds()
        self._announce("epoch_start", epoch=epoch)

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        if self._saved is not None:
            self._finish_resume_at("batch_start", batch == self._saved["batch"])
        else:
            self._announce("batch_start", epoch=self._epoch, batch=batch)

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        if self._saved is not None:
            self._finish_resume_at("batch_end", batch == self._saved["batch"] - 1)
            return
        self._batch, self._step = batch + 1, self._step + 1
        self._latest |= _numbers(logs)
        self._announce("batch_end", epoch=self._epoch, batch=batch)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        if self._saved is not None:
            raise UsageError(
                f"the epoch had more than {self._saved['batch']} batches, and now it has fewer: resume with the same data"
            )
        numbers = _numbers(logs)
        self._latest |= numbers
        self._known.results.append({"step": self._step, "epoch": epoch, **numbers})
        self._epoch, self._batch = epoch + 1, 0
        self._announce("epoch_end", epoch=epoch)

    def _before_end(self, logs: Any = None) -> None:
        self._model._initial_epoch = None
        if self._saved is not None and self._saved["at"] != "phase_end":
            self._finish_resume()  # there was nothing left to train

    def on_train_end(self, logs: Any = None) -> None:
        with self._stack:
            if self._saved is not None:
                self._finish_resume()
            else:
                if self._model.stop_training:
                    self._known.stop("the fit was stopped")
                self._announce("phase_end")

    def _announce(self, hook: str, *, epoch: int | None = None, batch: int | None = None) -> None:
        self._at = hook
        self._lacking.at(hook)
        self._known.announce(hook, epoch=epoch, batch=batch, step=self._step, metrics=self._latest)

    def _let_go(self, error: BaseException) -> None:
        """The fit has ended by an exception. Not seen are those of Keras itself between two steps."""
        close_by(error, self._stack)

    # --- its position -----------------------------------------------------------------------------

    def _get_position(self) -> dict[str, Any]:
        within = self._at not in _BETWEEN
        return {
            "at": self._at,
            "epoch": self._epoch,
            "batch": self._batch,
            "step": self._step,
            "stopped": self._model.stop_training,
            "latest": dict(self._latest),
            "before": self._before if within else None,
            "seeds_before": self._seeds_before if within else None,
            "seeds": get_seeds(),
            "trained_on": self._skipping.digest() if within and self._batch else None,
            "exactness": self._data.exactness,
            "about_data": self._data.about,
            "script": self._script.followed,
        }

    def _finish_resume_at(self, hook: str, is_there: bool = True) -> None:
        assert self._saved is not None
        if self._saved["at"] == hook and is_there:
            self._finish_resume()

    def _finish_resume(self) -> None:
        """The fit is at the hook where it was saved: from here on everything is as it would have been."""
        saved, self._saved = self._saved, None
        assert saved is not None
        state.restore(self._snapshot, {"model": self._model})
        absent = self._siblings.put(self._given)
        self._known_variables.put_back()
        self._at, self._epoch = saved["at"], saved["epoch"]
        self._batch, self._step = saved["batch"], saved["step"]
        self._latest = dict(saved["latest"])
        self._before, self._seeds_before = saved["before"], saved["seeds_before"]
        self._model.stop_training = saved["stopped"]
        set_seeds(saved["seeds"])
        # The callbacks' attributes are compared by themselves: which of them have changed is seen from another start.
        self._known.finish_resume(lambda: [*absent, *self._differences(saved)], not_loaded=["callbacks"])
        self._siblings.forget_absent()
        del self._snapshot, self._given

    def _differences(self, saved: Mapping[str, Any]) -> list[str]:
        found = [saved["exactness"]] if saved["exactness"] != "exact" else []
        found += differences_of(saved.get("about_data", {}), self._data.about)
        found += [*self._siblings.differences(self._given), *self._known_variables.differences]
        found += self._compare_settings(self._script, saved.get("script"))
        if saved["at"] == "batch_end" and saved["trained_on"] != self._skipping.digest():
            found.append("the data give another batch than the one that was trained on")
        return found


def _check(model: Any) -> None:
    if keras.backend.backend() not in ("torch", "jax"):
        raise UsageError(
            f"Keras runs on {keras.backend.backend()}: what is exact here is torch and jax (KERAS_BACKEND)"
        )
    if model.steps_per_execution != 1:
        raise UsageError("steps_per_execution must be 1: checkpoints are taken between single steps")


def _numbers(logs: Any) -> dict[str, float]:
    return {name: float(value) for name, value in (logs or {}).items()}
