"""A loop of one's own whose validation loss is a script: what is kept of it can be told beforehand."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from holdfast import Checkpointing, Run, Write


class Crash(Exception):
    """Ends a loop from within, as a defect of the script would."""


def policy(**options: Any) -> Checkpointing:
    return Checkpointing(**{"mode": "disk", "write": Write(durability="process"), **options})


def train(
    directory: Path,
    losses: Sequence[float | None],
    *,
    crash_in: int | None = None,
    resume: Any = True,
    size: int = 3,
    **options: Any,
) -> Run:
    """An epoch for each loss, which is logged unless it is None; crashes at the beginning of epoch `crash_in`."""
    weight = np.zeros(size)
    with Run(directory, {"weight": weight}, checkpointing=policy(**options), resume=resume) as run:
        for epoch in run.epochs(len(losses)):
            if epoch == crash_in:
                raise Crash
            weight += 1 + epoch
            if losses[epoch] is not None:
                run.log(val_loss=losses[epoch])
    return run


def crash(directory: Path, losses: Sequence[float | None], epoch: int, **options: Any) -> None:
    try:
        train(directory, losses, crash_in=epoch, **options)
    except Crash:
        return
    raise AssertionError("the loop did not crash")


def epochs_kept(directory: Path) -> list[int]:
    names = (path.name for path in directory.glob("*.ckpt.mml"))
    return sorted(int(name.removeprefix("train_epoch").removesuffix(".ckpt.mml")) for name in names)
