from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

from ...policy import Checkpointing, KeepBest, KeepLast


@dataclass(frozen=True)
class Resume:
    source: bool | str | os.PathLike[str] = True
    strict: bool = True
    override: Sequence[str] = ()


def default_policy(monitor=None, direction="min", save_on="epoch_end"):
    keep = KeepLast(3) if monitor is None else KeepLast(3) | KeepBest(1, monitor, direction=direction)
    return Checkpointing(
        mode="disk",
        save_on=save_on,
        every_n=1,
        max_overhead=0.01,
        every_seconds=900,
        keep=keep,
        save_on_preemption=True,
    )
