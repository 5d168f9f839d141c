"""ModularML's `Checkpointing` objects as rules of ours: theirs stay where they are, and ask ours."""

# pyright: reportMissingImports=false

from __future__ import annotations

import copy
import warnings
from typing import Any

from modularml.core.experiment.checkpointing import Checkpointing as Theirs

from ...checkpointing import Checkpointing

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


def rule_of(given: Any) -> Checkpointing | None:
    """The rule behind what a phase or an experiment was given: ours as it is, theirs as one made of its values.

    Raises:
        UsageError: its values make no sense.
    """
    if given is None or isinstance(given, Checkpointing):
        return given
    made = vars(given).get("_holdfast")
    if made is None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # theirs has warned of files that are there
            made = Checkpointing.from_config({**Theirs.get_config(given), "on_error": "warn"})
        given._holdfast = made
    return made


def independent(given: Any, rule: Checkpointing) -> Any:
    """What a second parent of `given` gets in its place: `rule`, in the form of theirs if that is what it was."""
    if isinstance(given, Checkpointing):
        return rule
    made = copy.copy(given)
    made._holdfast = rule
    return made
