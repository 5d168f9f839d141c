"""What trackers are told of a checkpoint: a reference, and where it comes from."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from typing import Any

from ..records import CheckpointRecord


def described(record: CheckpointRecord, directory: str | os.PathLike[str] | None = None) -> dict[str, Any]:
    """Plain facts: its id and name, its parent's id, its run, where in training it is, and its digest.

    `directory` is where to look for it by its name, and is noted as it is given.
    """
    moment = record.moment
    return {
        "id": record.id,
        "name": record.name,
        "directory": None if directory is None else os.fspath(directory),
        "parent": record.parent,
        "run": record.run,
        "step": moment.step,
        "epoch": moment.epoch,
        "phase": moment.phase,
        "reason": record.reason,
        "created": record.created,
        "tree_digest": record.tree.digest,
        "size_bytes": record.size_bytes,
    }


def finite(metrics: Mapping[str, float]) -> dict[str, float]:
    """Those that are numbers: trackers take NaN and infinities in ways of their own, or not at all."""
    return {name: value for name, value in metrics.items() if math.isfinite(value)}
