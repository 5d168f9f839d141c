"""ModularML's `Checkpointing` objects as policies of ours: theirs stay where they are, and ask ours."""

# pyright: reportMissingImports=false

from __future__ import annotations

import copy
import warnings
from typing import Any

from modularml.core.experiment.checkpointing import Checkpointing as Theirs

from ...policy import EXPERIMENT_HOOKS, Checkpointing, Limits
from .._common.arguments import Abilities

_FORWARD_ONLY = (
    "its loops only go forward, and would have to be thrown out of; use 'stop', change what diverges, and start the script "
    "again: it resumes from the newest checkpoint that was finite"
)
IN_PHASES = Limits(where="ModularML", in_memory=True, refused={"on_divergence='rollback'": _FORWARD_ONLY})
"""Of a policy that a training phase has."""

ABILITIES = Abilities(
    limits=IN_PHASES,
    refused={
        "strict": "the nodes of a graph are matched by their labels, all of them",
        "override": "optimizers belong to the graph's state; set the value in `on_epoch_start` of a callback",
        "allow_reread": "the batches of a phase are drawn once, and are in the checkpoint; leave it out",
        "on_rollback": _FORWARD_ONLY,
    },
)

_AT_STEPS = "an experiment's policy hears of phases and groups, not of steps; give it to a phase, or to enable(checkpointing=…)"
IN_EXPERIMENT = Limits(
    where="the experiment's own policy in ModularML",
    hooks=EXPERIMENT_HOOKS,
    refused=dict.fromkeys(
        ("when with time", "save_on_exception", "save_on_preemption", "on_divergence"),
        _AT_STEPS,
    ),
)
"""Of the experiment's own policy."""

ASKED = (
    "should_save",
    "record_memory",
    "record_disk",
    "has_key",
    "get_state",
    "get_path",
    "reset",
    "format_name",
)
"""What ours answers in the place of theirs."""


def policy_of(given: Any) -> Checkpointing | None:
    """The policy behind what a phase or an experiment was given: ours as it is, theirs as one made of its values.

    Raises:
        UsageError: its values make no sense.
    """
    return None if given is None else policy_behind(given)


def policy_behind(given: Any) -> Checkpointing:
    """As `policy_of`, of what is there."""
    if isinstance(given, Checkpointing):
        return given
    made = vars(given).get("_holdfast")
    if made is None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # theirs has warned of files that are there
            config = Theirs.get_config(given)
            write = {"write": {"errors": "warn"}} if config["mode"] == "disk" else {}
            made = Checkpointing.from_config(config | write)
        given._holdfast = made
    return made


def independent(given: Any, policy: Checkpointing) -> Any:
    """What a second parent of `given` gets in its place: `policy`, in the form of theirs if that is what it was."""
    if isinstance(given, Checkpointing):
        return policy
    made = copy.copy(given)
    made._holdfast = policy
    return made
