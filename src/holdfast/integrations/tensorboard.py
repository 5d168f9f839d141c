"""TensorBoard: note each checkpoint in an event file, by reference.

    note = TensorBoardNotes("runs/digits/events")
    rule = Checkpointing(mode="disk", …, on_saved=note)

Needs torch and tensorboard.
"""

# pyright: reportMissingImports=false

from __future__ import annotations

import json
import os
from typing import final

from torch.utils.tensorboard import SummaryWriter

from ..records import CheckpointRecord
from .backends.notes import described, finite


@final
class TensorBoardNotes:
    """Called with the record of each committed checkpoint, in whatever thread wrote it.

    Args:
        events: the directory of the event files.
        directory: of the checkpoints, noted with each of them.
        rewound_to: of a run that goes on from this checkpoint: TensorBoard then forgets what was logged for
            later steps (its `purge_step`).
    """

    def __init__(
        self,
        events: str | os.PathLike[str],
        *,
        directory: str | os.PathLike[str] | None = None,
        rewound_to: CheckpointRecord | None = None,
    ) -> None:
        self._events, self._directory = os.fspath(events), directory
        self._writer = SummaryWriter(
            self._events, purge_step=None if rewound_to is None else rewound_to.moment.step + 1
        )

    def __call__(self, record: CheckpointRecord) -> None:
        """The metrics that are finite as scalars, and the reference as a text, at the record's step."""
        step = record.moment.step
        for name, value in finite(record.metrics).items():
            self._writer.add_scalar(name, value, step)
        self._writer.add_text(
            "holdfast/checkpoint", json.dumps(described(record, self._directory), sort_keys=True), step
        )
        self._writer.flush()

    def rewind(self, record: CheckpointRecord) -> None:
        """Training goes back to `record`: TensorBoard forgets what was logged for later steps."""
        self._writer.close()
        self._writer = SummaryWriter(self._events, purge_step=record.moment.step + 1)

    def close(self) -> None:
        """Write what is left, and close the file."""
        self._writer.close()
