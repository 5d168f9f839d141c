"""`resumable` makes a run of a function that trains; `current_run` is that run, inside of it."""

from __future__ import annotations

import functools
import inspect
import os
import sys
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any, ParamSpec, TypeVar

from ...checkpoint import Place
from ...errors import UsageError
from ...policy import Checkpointing, Limits
from ...variables import Mode, check_mode
from .._arguments import check_arguments
from .._resuming.options import Resume
from .._run import Run
from .noticing import NoticingRun

P = ParamSpec("P")
T = TypeVar("T")

_RUN: ContextVar[NoticingRun] = ContextVar("holdfast_current_run")
_HOW = '@holdfast.resumable("runs/NAME") above `def`'


def resumable(
    directory: str | os.PathLike[str],
    *,
    checkpointing: Checkpointing | None = None,
    resume: bool | Place | Resume = True,
    label: str = "train",
    allow_reread: bool = False,
    share_directory: bool = False,
    variables: Mode = "save",
    on_rollback: Callable[[Run], None] | None = None,
) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """A decorator that makes a run of a function that trains: what the function makes is noticed, not listed.

    Each call of the function is a `Run`, which `current_run()` gives. Where the loop over its `epochs`, `steps`, or
    `batches(loader, steps=n)` begins, the models, optimizers, schedules, scalers and all else with a `state_dict` within
    reach are handed over, by the names of their variables; one line of the log names them. The newest complete
    checkpoint is put into them, and the loop begins where it was. The loader is what `batches` is given.

    Within reach are the variables of the function and of those it calls down to the loop, globals that these mention,
    and what containers and objects of the script's own classes among them hold. What is made only later is
    handed over by nobody; if it trains, it is named, and the verdict is not exact.

    Called again, a function whose loop has ended, or was left by `break`, resumes from its end and returns what it returned
    then. Where it was left by a `return`, or a `break` within a `with`, it resumes from the newest checkpoint and comes to
    the same place.

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

    Raises:
        UsageError: an argument has no meaning, or what is decorated is no plain function. From the call: nothing with a
            state is within reach where the loop begins, or an optimizer steps before it. And all that `Run` raises.
    """
    if callable(directory):
        raise UsageError(f"resumable is called with a directory first: {_HOW} {_name_of(directory)}.")
    check_arguments(
        *(directory, label),
        allow_reread=allow_reread,
        share_directory=share_directory,
        on_rollback=on_rollback,
    )
    check_mode(variables)
    if checkpointing is not None:
        Limits(where="a Run").check(checkpointing)
    Resume.of(resume)
    arguments = {
        "checkpointing": checkpointing,
        "resume": resume,
        "label": label,
        "allow_reread": allow_reread,
        "share_directory": share_directory,
        "variables": variables,
        "on_rollback": on_rollback,
    }

    def decorate(function: Callable[P, T]) -> Callable[P, T]:
        _check_function(function)

        @functools.wraps(function)
        def call(*args: P.args, **kwargs: P.kwargs) -> T:
            with NoticingRun(_name_of(function), sys._getframe(), directory, arguments) as run:
                token = _RUN.set(run)
                try:
                    return function(*args, **kwargs)
                finally:
                    _RUN.reset(token)

        return call

    return decorate


def current_run() -> Run:
    """The run of the `resumable` function that is being called; of several, the innermost.

    Its loop is `epochs`, `steps` or `batches(loader, steps=n)`. Before that only `ignore` is there.

    Raises:
        UsageError: no such function is being called, in this thread.
    """
    run = _RUN.get(None)
    if run is None:
        raise UsageError(
            f"no resumable function is being called in this thread, so there is no current run: put {_HOW} the function that trains."
        )
    return run


def _check_function(function: Any) -> None:
    what = None
    if isinstance(function, type):
        what = "a class: put it above the method that trains"
    elif isinstance(function, classmethod | staticmethod):
        what = f"a {type(function).__name__}: put it below @{type(function).__name__}, directly above `def`"
    elif not callable(function):
        what = "not a function"
    elif inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        what = "a generator function, which trains only while somebody takes its items: put it above a function that does"
    elif inspect.iscoroutinefunction(function):
        what = "an async function, whose steps are not one after the other in its thread: put it above a plain function"
    if what is not None:
        raise UsageError(f"resumable decorates a function that trains, and {_name_of(function)} is {what}.")


def _name_of(function: Any) -> str:
    return getattr(function, "__qualname__", None) or repr(function)
