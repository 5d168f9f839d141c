"""The policy of a run that is given none."""

from __future__ import annotations

from typing import Literal

from ._checkpointing import Checkpointing
from ._keep import KeepBest, KeepLast


def default_policy(monitor: str | None = None, direction: Literal["min", "max"] = "min") -> Checkpointing:
    """Save at epoch ends as far as 1 % of the time allows, every 15 minutes, at the end and on preemption; keep 3.

    With `monitor`, the name of a metric, the best checkpoint is kept, too.
    """
    keep = KeepLast(3)
    return Checkpointing(
        mode="disk",
        save_on=["epoch_end", "phase_end"],  # the end is saved whatever that costs
        max_overhead=0.01,
        every_seconds=900,
        keep=keep if monitor is None else keep | KeepBest(1, monitor, direction),
        save_on_preemption=True,
    )
