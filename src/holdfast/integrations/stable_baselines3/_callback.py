"""`HoldfastCallback`: makes `learn` resumable."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from typing import Any, final

from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.vec_env import VecEnv

from ...checkpoint import Place
from ...errors import PlanMismatchError, UsageError
from ...plain_attributes import is_plain
from ...policy import Checkpointing
from ...runtime import Lacking, Loop, Resume, warn_lacking
from ...variables import Held, Mode, Variables, is_own_class
from .._common import patching
from .._common.handover import Handover
from .._common.holders import by_class
from .._common.left_open import LeftOpen, close_by
from .._common.reporting import Reporting
from ._algorithm import (
    ABILITIES,
    Progress,
    check,
    follows_its_end,
    is_off_policy,
    metrics_of,
    objects_of,
    settings_of,
)
from ._environment import Environment
from ._rest import Rest
from ._siblings import all_below, siblings

_ADVICE = "each resume starts a new episode; leave= names attributes that decide nothing"
_HAND_OVER = "an algorithm saves what its `_get_torch_save_params` names"
_left_open = LeftOpen()


@final
class HoldfastCallback(Reporting, BaseCallback):
    """One `learn` in a directory: it resumes from the newest complete checkpoint there, if there is one.

    Saved are the policy and all optimizers, the replay buffer, counters, the episodes under way, action noise, the
    environment with its wrappers and the statistics of `VecNormalize`, what training has changed in the other callbacks,
    and the random states. `total_timesteps` counts from the start of the run, not from the resume.

    Args:
        directory: where checkpoints are saved, and looked for.
        checkpointing: when to save and what to keep; by default `Checkpointing.default()`.
            Here without epochs: as long as saving takes 1 % of the time, at least every 15 minutes, and the end.
        resume: True: resume from the newest complete checkpoint, or start from scratch if there is none. A name or path:
            from that checkpoint. False: start from scratch. A `Resume` says how as well.
        label: what is trained, in names such as `train_epoch3`.
        allow_reread: whether data without a position may be read again from the start of an epoch, to skip what was done.
            Refused: there is no loader here.
        share_directory: run even though another live run uses the directory.
        variables: "save": variables of the script that have changed since the loop began are saved and put back, too,
            and those that cannot be are named. "watch": all of them are only named. "off": they are the script's affair.
        on_rollback: called with the callback or run after each rollback (`on_divergence="rollback"`), once everything is
            as it was in the checkpoint: the place to lower a learning rate.
            Refused: `learn` only goes forward.
        leave: patterns of the environment's attributes that stay as the script has made them, such as `"**/viewer"`.

    Raises (when training begins):
        UsageError: it is not called by `learn`, or by a second one.
        PlanMismatchError: the checkpoint is of another algorithm, or of a `learn` that began elsewhere.
        StateMismatchError: the checkpoint has other networks, buffers or environments; nothing was changed.
        RunActiveError: another live run uses the directory.
        DamagedError: there are checkpoints, and none can be used.
    """

    _begins = "model.learn() has begun"

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
        leave: str | Sequence[str] = (),
    ) -> None:
        super().__init__()
        self._arguments = ABILITIES.check(
            directory, checkpointing, resume, label, allow_reread, share_directory, variables, on_rollback
        )
        self._leave = (leave,) if isinstance(leave, str) else tuple(leave)
        self._loop: Loop | None = None
        self._stack = ExitStack()

    # --- what stable-baselines3 calls -------------------------------------------------------------

    def _on_training_start(self) -> None:
        check(self.model)
        if self._loop is not None:
            raise UsageError(
                "a HoldfastCallback is for one learn(): give each its own, with a directory of its own."
            )
        self._total = int(self.locals["total_timesteps"])
        self._began_at = self.model.num_timesteps
        self._turns, self._num_rows, self._at = 0, 0, "phase_start"
        self._is_stopped = self._is_in_turn = False
        self._saved: Mapping[str, Any] | None = None
        self._settings = settings_of(self.model)
        self._begin([each for each in all_below(self.locals["callback"]) if each is not self])

    def _begin(self, others: list[BaseCallback]) -> None:
        named = by_class(others)
        environments = {"env": Environment("env", self.training_env, self._leave)}
        for name, each in named.items():
            if isinstance(of_evaluation := getattr(each, "eval_env", None), VecEnv):
                key = f"env_of_{name.replace(' ', '_')}"
                environments[key] = Environment(key, of_evaluation, self._leave)
        missing = [each.missing for each in environments.values() if each.missing is not None]
        self._siblings = siblings(named)
        objects = objects_of(self.model)
        rest = Rest(self.model, objects, is_plain)
        self._progress = Progress(self.model, environments, self._siblings, rest)
        self._handover = Handover(Progress.NAMES, self._progress.take)
        objects = {**rest.objects, **objects, "progress": self._handover}
        for each in environments.values():
            objects |= each.objects
        variables = self._variables = Variables(
            self._arguments.variables,
            lambda: objects,
            lambda: [self, *(each.env for each in environments.values())],
            lambda found: self._known.add_differences(found),
            held=Held(
                lambda: {"model": self.model, **named},
                skips_tensors=True,
                roots=lambda: [self.model, self.training_env, *others],
                others=lambda: [self, *(each.env for each in environments.values())],
            ),
        )
        variables.ignore(self._ignored)
        is_watched = self._arguments.variables != "off" and is_own_class(type(self.model))  # by the variables
        lacking = self._lacking = Lacking(
            lambda: objects,
            lambda found: self._known.lack(found, _HAND_OVER),
            others=lambda: () if is_watched else rest.missing,
        )
        loop = self._loop = self._arguments.loop(
            *(objects, self._get_position, ("progress/**",)),
            lacking=lambda: [*missing, *lacking.found],
            variables=variables,
        )
        _left_open.begin(self._arguments.directory, self._let_go, self._stack)
        self._stack.enter_context(loop.holding())
        try:
            self._watch_for_errors()  # before it is noticed what the algorithm's attributes are
            variables.begin()
            lacking.begin()
            self._stack.callback(lacking.close)
            warn_lacking(missing, _ADVICE)
            self._resume(loop)
        except BaseException as err:
            self._let_go(err)
            raise

    def _on_rollout_start(self) -> None:
        """Between two turns of the algorithm: all that it does next follows from what is saved here."""
        if self._saved is not None:
            is_training = self.model.policy.training
            self._finish_resume()
            self.model.policy.set_training_mode(is_training)  # the end of a learn() may have been saved
        elif self._is_in_turn:
            self._end_turn()
        else:
            self._announce("phase_start")
        if self._at != "batch_start":  # where it was saved
            self._announce("batch_start", batch=self._turns)
        self._is_in_turn = True

    def _on_step(self) -> bool:
        return True

    def _on_training_end(self) -> None:
        if self._is_stopped:
            self.model.num_timesteps = self.num_timesteps = self._stopped_at
        is_new = self._saved is None or self._at != "phase_end"
        if self._saved is not None:
            is_new = self._saved["at"] != "phase_end"
            self._finish_resume()
        elif self.model.num_timesteps < self._total:
            self._is_stopped = True
            self._known.stop("the training was stopped")
        elif self._is_in_turn:
            self._end_turn()
        if is_new:
            self._announce("phase_end")
        self._stack.close()

    # --- its position -----------------------------------------------------------------------------

    def _end_turn(self) -> None:
        self._is_in_turn = False
        self._turns += 1
        metrics = metrics_of(self.model)
        if not is_off_policy(self.model) or self.model._episode_num != self._num_rows:
            self._num_rows = self.model._episode_num
            self._known.results.append({"step": self.model.num_timesteps, **metrics})
        self._announce("batch_end", batch=self._turns - 1, metrics=metrics)

    def _announce(
        self, hook: str, *, batch: int | None = None, metrics: Mapping[str, float] | None = None
    ) -> None:
        self._at = hook
        try:
            self._lacking.at(hook)
            epoch = None if batch is None else 0
            self._known.announce(
                hook, epoch=epoch, batch=batch, step=self.model.num_timesteps, metrics=metrics
            )
        except BaseException as err:
            self._let_go(err)
            raise

    def _watch_for_errors(self) -> None:
        """`learn` tells no callback of an exception; seen are those from rollouts, callbacks among them, and from updates."""
        names = ("collect_rollouts", "train")
        hidden = [*names, "_excluded_save_params"]  # or `model.save` would try to pickle them
        patching.wrap(
            *(self.model, "_excluded_save_params", lambda excluded: [*excluded(), *hidden]), until=self._stack
        )
        for name in names:
            patching.wrap(self.model, name, self._watched, self._stack)

    def _watched(self, part: Callable[..., Any], *args: Any, **options: Any) -> Any:
        try:
            return part(*args, **options)
        except BaseException as err:
            self._let_go(err)
            raise

    def _let_go(self, error: BaseException) -> None:
        close_by(error, self._stack)

    def _get_position(self) -> dict[str, Any]:
        return {
            "algorithm": type(self.model).__name__,
            "at": self._at,
            "turns": self._turns,
            "num_rows": self._num_rows,
            "began_at": self._began_at,
            "total": self._total,
            "stopped": self._is_stopped,
            "is_training": bool(self.model.policy.training),
            "script": self._settings.followed,
        }

    # --- resuming ---------------------------------------------------------------------------------

    def _resume(self, loop: Loop) -> None:
        with self._handover.expecting():
            saved = loop.resume(self._arguments.resume)
        if saved is None:
            return
        for what, now in {"algorithm": type(self.model).__name__, "began_at": self._began_at}.items():
            if saved[what] != now:
                raise PlanMismatchError(
                    [f"the checkpoint is of a learn() whose {what} is {saved[what]}, and here it is {now}"]
                )
        assert self._handover.given is not None
        self._saved = saved
        self._progress.put(self._handover.given)
        self._turns, self._num_rows, self._at = saved["turns"], saved["num_rows"], saved["at"]
        self.num_timesteps = self.model._num_timesteps_at_start = self.model.num_timesteps  # for its speed
        if saved["stopped"]:
            self._is_stopped, self._stopped_at = True, self.model.num_timesteps
            self.model.num_timesteps = max(self._total, self._stopped_at)  # so that nothing is trained

    def _finish_resume(self) -> None:
        """A rollout begins, or there is none left: from here on everything is as it would have been."""
        saved, self._saved = self._saved, None
        assert saved is not None
        assert self._handover.given is not None
        found = self._progress.put(self._handover.given)
        self.model.policy.set_training_mode(saved["is_training"])
        self._known_variables.put_back()
        self._known.finish_resume(lambda: [*found, *self._differences(saved)])
        self._siblings.forget_absent()

    def _differences(self, saved: Mapping[str, Any]) -> list[str]:
        found = [
            *self._known_variables.differences,
            *self._compare_settings(self._settings, saved.get("script")),
        ]
        if saved["total"] != self._total and follows_its_end(self.model):
            found.append(
                f"total_timesteps was {saved['total']} and is now {self._total}, and a schedule follows it"
            )
        return found
