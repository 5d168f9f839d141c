"""What a parent does with the rule it is given: check that it can work there, make it its own, find its directory."""

from __future__ import annotations

from copy import copy
from pathlib import Path

from ..errors import UsageError
from ._checkpointing import Checkpointing
from ._context import EXPERIMENT, TRAINING, Context
from ._keep import KeepEvery, parts_of
from ._labels import check_label


def attach_to_training(checkpointing: Checkpointing) -> Checkpointing:
    """The rule that a TrainPhase should keep: `checkpointing`, or a copy if that has a parent already.

    A copy is the same rule with an empty ledger. A template of None becomes the context's.

    Raises:
        UsageError: a hook, placeholder or format spec that cannot work there; nothing was changed.
    """
    return _attach(checkpointing, TRAINING)


def attach_to_experiment(checkpointing: Checkpointing) -> Checkpointing:
    """The rule that an Experiment should keep; as `attach_to_training`, and only for `mode="disk"`."""
    return _attach(checkpointing, EXPERIMENT)


def training_directory(
    checkpointing: Checkpointing, experiment_directory: Path | None, label: str
) -> Path | None:
    """Where the phase `label` puts its bundles: the rule's own directory as it is, else a folder for the phase.

    None in memory mode. The rule itself keeps `directory=None`, so every phase gets its own folder.

    Raises:
        UsageError: there is no directory to inherit.
    """
    if checkpointing.mode == "memory":
        return None
    if checkpointing.directory is not None:
        return checkpointing.directory
    if experiment_directory is None:
        raise UsageError(
            f"phase {label!r} saves to disk and has no directory: pass directory= to its Checkpointing, "
            "or to the Experiment."
        )
    return experiment_directory / check_label(label)


def _attach(checkpointing: Checkpointing, context: Context) -> Checkpointing:
    if not isinstance(checkpointing, Checkpointing):
        raise UsageError(f"checkpointing must be a Checkpointing, not {checkpointing!r}.")
    parent = checkpointing._context
    template = checkpointing.name_template
    # The first parent put its own template in; the second has another one.
    if template is None or (parent is not None and template == parent.default_template):
        template = context.default_template
    context.check(checkpointing.mode, checkpointing.save_on, template)
    if context is EXPERIMENT:
        _refuse_epochs(checkpointing)
    mine = checkpointing
    if parent is not None:
        mine = copy(checkpointing)
        mine.reset()
    mine._context = context
    mine.name_template = template
    return mine


def _refuse_epochs(checkpointing: Checkpointing) -> None:
    keep = checkpointing.options.keeping(checkpointing.max_to_keep)
    for part in parts_of(keep) if keep else ():
        if isinstance(part, KeepEvery) and part.unit == "epochs":
            raise UsageError(
                f"keep_every={part.interval!r} has no meaning for an Experiment, whose hooks have no epoch: "
                "give steps or a duration, or give the rule to a TrainPhase."
            )
