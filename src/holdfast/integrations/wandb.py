"""Weights & Biases: note each checkpoint in a run, by reference; works offline.

    note = WandbNotes(wandb.init(project="digits", mode="offline"))
    policy = Checkpointing(…, on_saved=note)

No byte of a checkpoint is copied or uploaded.
"""

from __future__ import annotations

import os
from typing import Any, final

from ..records import CheckpointRecord
from ._notes import described, finite

__all__ = ["WandbNotes"]


def __dir__() -> list[str]:
    return __all__


STEP = "holdfast/step"
LIFE = "holdfast/life"


@final
class WandbNotes:
    """Called with the record of each committed checkpoint, in whatever thread wrote it.

    Metrics are logged against an axis of their own, `holdfast/step`: W&B's own step only grows, so what is
    logged again after training has gone back would be thrown away. What was logged cannot be taken back from here
    (W&B's server can, see `wandb.init(resume_from=…)`, to the `wandb_step` of a checkpoint's note). So each row
    says in which life of the run it was logged: of two rows of one step the one with the greater `holdfast/life`
    stands. When the run resumes from a checkpoint, `rewind` is called by itself.

    Args:
        run: what `wandb.init` gave.
        directory: of the checkpoints, noted with each of them.
    """

    def __init__(self, run: Any, *, directory: str | os.PathLike[str] | None = None) -> None:
        self._directory = directory
        self._run = run
        self._defined: set[str] = set()
        self._notes: dict[str, dict[str, Any]] = {}  # of the checkpoints that stand, by name
        self._life = int(run.summary.get(LIFE) or 0)
        run.define_metric(STEP)

    def __call__(self, record: CheckpointRecord) -> None:
        """The reference in the summary, under `holdfast/latest` and `holdfast/checkpoints/NAME`; metrics in the history."""
        note = self._described(record) | {"wandb_step": self._run.step}
        metrics = finite(record.metrics)
        for name in metrics.keys() - self._defined:
            self._run.define_metric(name, step_metric=STEP)
            self._defined.add(name)
        self._run.log(
            {**metrics, STEP: record.moment.step, LIFE: self._life, "holdfast/checkpoint": record.id}
        )
        self._notes[record.name] = note
        self._run.summary["holdfast/latest"] = note
        self._run.summary[f"holdfast/checkpoints/{record.name}"] = note

    def rewind(self, record: CheckpointRecord) -> None:
        """Training goes back to `record`: a life begins, the summary shows what stands, later notes are `void`."""
        self._life += 1
        self._run.log({STEP: record.moment.step, LIFE: self._life, "holdfast/rewound_to": record.id})
        for name, note in [*self._notes.items()]:
            if note["step"] > record.moment.step:
                self._run.summary[f"holdfast/checkpoints/{name}"] = note | {"void": True}
                del self._notes[name]
        summary = finite(record.metrics) | {LIFE: self._life, STEP: record.moment.step}
        for name, value in summary.items():
            self._run.summary[name] = value
        self._run.summary["holdfast/latest"] = self._described(record)
        self._run.summary["holdfast/rewound_to"] = self._described(record)

    def _described(self, record: CheckpointRecord) -> dict[str, Any]:
        return described(record, self._directory)
