"""The saves that a phase is going to make, as far as they can be known before it begins."""

from __future__ import annotations

from collections.abc import Iterator

from ..checkpointing import Checkpointing
from ..records import Moment
from ._phases import TrainPhase


def moments_ahead(
    rule: Checkpointing, phase: TrainPhase, path: str, num_batches: int | None, run: str
) -> Iterator[Moment]:
    """The moments at which `rule` will save if the phase runs through all its epochs.

    Batches are left out if it is unknown how many there are.
    """
    for hook in rule.save_on:
        all_of_hook = _occurrences(hook, phase, path, num_batches, run)
        for count, moment in enumerate(all_of_hook, start=1):
            if count % rule.every_n == 0:
                yield moment


def _occurrences(
    hook: str, phase: TrainPhase, path: str, num_batches: int | None, run: str
) -> Iterator[Moment]:
    if hook in ("phase_start", "phase_end"):
        yield Moment(run=run, hook=hook, phase=path)
        return
    for epoch in range(phase.n_epochs):
        if hook in ("epoch_start", "epoch_end"):
            yield Moment(run=run, hook=hook, phase=path, epoch=epoch)
        else:
            for batch in range(num_batches or 0):
                yield Moment(run=run, hook=hook, phase=path, epoch=epoch, batch=batch)
