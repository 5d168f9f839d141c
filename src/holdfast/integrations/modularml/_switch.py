"""Switching Holdfast on and off for all experiments of ModularML."""

from __future__ import annotations

import os
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
from ...runtime import Accounting, ResumeReport, asked_for  # noqa: E402

try:
    from . import _patching
except ModuleNotFoundError as err:
    raise UsageError(
        f"ModularML cannot be imported without {err.name}, which it does not bring with it: "
        'pip install "holdfast[modularml]" does.'
    ) from err
from ._holds import held_by  # noqa: E402
from ._policies import IN_PHASES  # noqa: E402
from ._run import Held  # noqa: E402
from ._sessions import Settings  # noqa: E402


def enable(
    directory: str | os.PathLike[str] | None = None,
    *,
    checkpointing: Checkpointing | None = None,
    resume: bool | Place = True,
) -> None:
    """Let every experiment that runs from now on save through Holdfast, and go on from what is there.

    Args:
        directory: where an experiment's checkpoints are; None: the directory of its own `Checkpointing`, else
            that of `set_checkpoint_dir`, else that of its first phase that has one.
        checkpointing: when training phases save that have no `Checkpointing` of their own.
        resume: True: an experiment's first call goes on from its newest whole checkpoint, or begins if there
            is none. A path or name: from that one. False: it begins anew.

    Raises:
        UsageError: the rule asks for what does not work here; or ModularML is of a version that is not known (when
            this module is imported).
    """
    if checkpointing is not None:
        IN_PHASES.check(checkpointing)
    wanted = asked_for(resume)
    _patching.switch_on(Settings(None if directory is None else Path(directory), checkpointing, wanted))


def disable() -> None:
    """Put ModularML back as it was, and let go of all directories."""
    _patching.switch_off()


def last_resume(experiment: Any) -> ResumeReport | None:
    """From where an experiment went on, and how exactly; None if from scratch."""
    return _held(experiment).position.last_resume


def accounting(experiment: Any) -> Accounting:
    """What saving has cost an experiment so far.

    Raises:
        UsageError: it has not run, or saves nothing to disk.
    """
    directory = _held(experiment).directory
    if directory is None:
        raise UsageError("the experiment saves nothing to disk")
    return directory.accounting


def state_digest(experiment: Any) -> str:
    """BLAKE3 of what two runs have in common at the same place: weights, optimizers, results, random streams."""
    return _held(experiment).position.state_digest()


def _held(experiment: Any) -> Held:
    held = held_by(experiment)
    if held is None:
        raise UsageError("the experiment has not run since Holdfast was enabled")
    return held
