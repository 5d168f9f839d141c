"""Weights & Biases: note each checkpoint in a run, by reference; works offline.

    note = WandbNotes(wandb.init(project="digits", mode="offline"))
    rule = Checkpointing(mode="disk", …, on_saved=note)

No byte of a checkpoint is copied or uploaded.
"""

from __future__ import annotations

import os
from typing import Any, final

from ..records import CheckpointRecord
from .backends.notes import described, finite

STEP = "holdfast/step"


@final
class WandbNotes:
    """Called with the record of each committed checkpoint, in whatever thread wrote it.

    Metrics are logged against an axis of their own, `holdfast/step`: W&B's own step only grows, so what is
    logged again after training has gone back would be thrown away. A run cannot be cut short from here (the
    server's `wandb.init(resume_from=…)` can): `rewind` says in the history and the summary from where it went on.

    Args:
        run: what `wandb.init` gave.
        directory: of the checkpoints, noted with each of them.
    """

    def __init__(self, run: Any, *, directory: str | os.PathLike[str] | None = None) -> None:
        self._directory = directory
        self._run = run
        self._defined: set[str] = set()
        run.define_metric(STEP)

    def __call__(self, record: CheckpointRecord) -> None:
        """The reference in the summary, under `holdfast/latest` and `holdfast/checkpoints/NAME`; metrics in the history."""
        note = described(record, self._directory)
        metrics = finite(record.metrics)
        for name in metrics.keys() - self._defined:
            self._run.define_metric(name, step_metric=STEP)
            self._defined.add(name)
        self._run.log({**metrics, STEP: record.moment.step, "holdfast/checkpoint": record.id})
        self._run.summary["holdfast/latest"] = note
        self._run.summary[f"holdfast/checkpoints/{record.name}"] = note

    def rewind(self, record: CheckpointRecord) -> None:
        """Training goes back to `record`: what was logged for later steps is void from here on."""
        self._run.log({STEP: record.moment.step, "holdfast/rewound_to": record.id})
        self._run.summary["holdfast/latest"] = described(record, self._directory)
        self._run.summary["holdfast/rewound_to"] = described(record, self._directory)
