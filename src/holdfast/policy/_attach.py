"""What a parent does with the policy it is given: check that it can work there, make it its own, find its directory."""

from __future__ import annotations

from copy import copy
from pathlib import Path

from ..errors import UsageError
from ._checkpointing import Checkpointing
from ._context import EXPERIMENT, TRAINING, Context
from ._keep import KeepEvery, parts_of
from ._labels import check_label


def attach_to_training(checkpointing: Checkpointing) -> Checkpointing:
    """The policy that a TrainPhase should keep: `checkpointing`, or a copy if that has a parent already.

    A copy is the same policy with an empty ledger. A template of None becomes the context's.

    Raises:
        UsageError: a hook, placeholder or format spec that cannot work there; nothing was changed.
    """
    return _attach(checkpointing, TRAINING)


def attach_to_experiment(checkpointing: Checkpointing) -> Checkpointing:
    """The policy that an Experiment should keep; as `attach_to_training`. An unset mode means disk, which is all there is."""
    return _attach(checkpointing, EXPERIMENT)


def training_directory(
    checkpointing: Checkpointing, experiment_directory: Path | None, label: str
) -> Path | None:
    """Where the phase `label` puts its bundles: the policy's own directory as it is, else a folder for the phase.

    None in memory mode. The policy itself keeps `directory=None`, so every phase gets its own folder. An unset mode is
    settled here: disk if the experiment has a directory.

    Raises:
        UsageError: there is no directory to inherit.
    """
    settle_mode(checkpointing, on_disk=experiment_directory is not None)
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


def settle_mode(checkpointing: Checkpointing, *, on_disk: bool) -> None:
    """Say what an unset mode means where this policy is attached; a mode that was given stays."""
    checkpointing._is_on_disk = on_disk


def _attach(checkpointing: Checkpointing, context: Context) -> Checkpointing:
    if not isinstance(checkpointing, Checkpointing):
        raise UsageError(f"checkpointing must be a Checkpointing, not {checkpointing!r}.")
    parent = checkpointing._context
    template = checkpointing.name_template
    # The first parent put its own template in; the second has another one.
    if template is None or (parent is not None and template == parent.default_template):
        template = context.default_template
    is_only_on_disk = context.modes == {"disk"}
    mode = "disk" if is_only_on_disk and checkpointing.is_mode_open else checkpointing.mode
    context.check(mode, checkpointing.save_on, template)
    if context is EXPERIMENT:
        _refuse_epochs(checkpointing)
    mine = checkpointing
    if parent is not None:
        mine = copy(checkpointing)
        mine.reset()
    mine._context = context
    settle_mode(mine, on_disk=is_only_on_disk)
    mine.name_template = template
    return mine


def _refuse_epochs(checkpointing: Checkpointing) -> None:
    for part in parts_of(checkpointing.keep):
        if isinstance(part, KeepEvery) and part.unit == "epochs":
            raise UsageError(
                f"KeepEvery({part.interval!r}) has no meaning for an Experiment, whose hooks have no epoch: "
                "give steps or a duration, or give the policy to a TrainPhase."
            )
