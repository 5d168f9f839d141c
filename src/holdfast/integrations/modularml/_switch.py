"""Switching Holdfast on and off for all experiments of ModularML."""

from __future__ import annotations

import os
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

from ...errors import UsageError
from ...policy import Checkpointing

KNOWN = ("1.0.0",)
"""Versions of ModularML whose private names have been read and tested."""

_found = version("modularml")
if _found not in KNOWN:
    raise UsageError(
        f"ModularML {_found} is not known to this version of Holdfast, which knows {', '.join(KNOWN)}: its private "
        "parts may have changed. Install modularml==1.0.0, or a newer Holdfast."
    )

from ...checkpoint import Place  # noqa: E402
from ...runtime import Accounting, Resume, ResumeReport  # noqa: E402
from ...variables import Mode  # noqa: E402

try:
    from . import _patching
except ModuleNotFoundError as err:
    raise UsageError(
        f"ModularML cannot be imported without {err.name}, which it does not bring with it: "
        'pip install "holdfast[modularml]" does.'
    ) from err
from ._holds import held_by  # noqa: E402
from ._policies import ABILITIES  # noqa: E402
from ._run import Held  # noqa: E402
from ._sessions import Settings  # noqa: E402


def enable(
    directory: str | os.PathLike[str] | None = None,
    *,
    checkpointing: Checkpointing | None = None,
    resume: bool | Place | Resume = True,
    label: str = "train",
    allow_reread: bool = False,
    share_directory: bool = False,
    variables: Mode = "save",
    on_rollback: Callable[[Any], None] | None = None,
) -> None:
    """Let every experiment that runs from now on save through Holdfast, and resume from what is there.

    Args:
        directory: where checkpoints are saved, and looked for.
            By default the directory of the experiment's own `Checkpointing`, else
            that of `set_checkpoint_dir`, else that of its first phase that has one.
        checkpointing: when to save and what to keep; by default `Checkpointing.default()`.
            For training phases that have no `Checkpointing` of their own; the default is for experiments that have none at
            all, and a directory.
        resume: True: resume from the newest complete checkpoint, or start from scratch if there is none. A name or path:
            from that checkpoint. False: start from scratch. A `Resume` says how as well.
            This is for the first call of an experiment.
        label: what is trained, in names such as `train_epoch3`.
            Refused: phases have labels of their own.
        allow_reread: whether data without a position may be read again from the start of an epoch, to skip what was done.
            Refused: the batches of a phase are drawn once, and are in the checkpoint.
        share_directory: run even though another live run uses the directory.
        variables: "save": variables of the script that have changed since the loop began are saved and put back, too,
            and those that cannot be are named. "watch": all of them are only named. "off": they are the script's affair.
        on_rollback: called with the callback or run after each rollback (`on_divergence="rollback"`), once everything is
            as it was in the checkpoint: the place to lower a learning rate.
            Refused: ModularML's loops only go forward.

    Raises:
        UsageError: an argument or the policy asks for what does not work here; or ModularML is of a version that is not
            known (when this module is imported).
    """
    if label != "train":
        raise UsageError(
            f"label={label!r} does not work in ModularML: its phases have labels of their own; leave it out."
        )
    given = "." if directory is None else directory  # those of the experiments are looked at later
    arguments = ABILITIES.check(
        given, checkpointing, resume, label, allow_reread, share_directory, variables, on_rollback
    )
    _patching.switch_on(
        Settings(
            directory=None if directory is None else Path(directory),
            checkpointing=checkpointing,
            default=arguments.policy,
            resume=arguments.resume.origin,
            share_directory=share_directory,
            variables=variables,
        )
    )


def disable() -> None:
    """Put ModularML back as it was, and let go of all directories."""
    _patching.switch_off()


def last_resume(experiment: Any) -> ResumeReport | None:
    """From where an experiment resumed, and how exactly; None if from scratch."""
    return _held(experiment).position.last_resume


def accounting(experiment: Any) -> Accounting:
    """What saving has cost an experiment so far.

    Raises:
        UsageError: it has not run, or saves nothing to disk.
    """
    directory = _held(experiment).sessions.directory
    if directory is None:
        raise UsageError("the experiment saves nothing to disk")
    return directory.accounting


def state_digest(experiment: Any) -> str:
    """BLAKE3 of what two runs have in common at the same place: weights, optimizers, results, random states."""
    return _held(experiment).position.state_digest()


def _held(experiment: Any) -> Held:
    held = held_by(experiment)
    if held is None:
        raise UsageError("the experiment has not run since Holdfast was enabled")
    return held
