"""TensorBoard: note each checkpoint in an event file, by reference.

    note = TensorBoardNotes("runs/digits/events")
    policy = Checkpointing(…, on_saved=note)

Needs torch and tensorboard.
"""

# pyright: reportMissingImports=false

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import final

from torch.utils.tensorboard import SummaryWriter

from ..records import CheckpointRecord
from ._notes import described, finite

__all__ = ["TensorBoardNotes"]


def __dir__() -> list[str]:
    return __all__


@final
class TensorBoardNotes:
    """Called with the record of each committed checkpoint, in whatever thread wrote it.

    When the run that it is told of resumes from a checkpoint (after a kill, by name, by a rollback), `rewind` is
    called by itself: TensorBoard then forgets what was logged for later steps, by whichever process and writer,
    in this directory.

    Args:
        events: the directory of the event files.
        directory: of the checkpoints, noted with each of them.
        rewound_to: of a run that resumes from this checkpoint without telling, begin as after `rewind`.
    """

    def __init__(
        self,
        events: str | os.PathLike[str],
        *,
        directory: str | os.PathLike[str] | None = None,
        rewound_to: CheckpointRecord | None = None,
    ) -> None:
        self._events, self._directory = os.fspath(events), directory
        self._writer: SummaryWriter | None = None  # none before it is needed: files are read in order of age
        if rewound_to is not None:
            self.rewind(rewound_to)

    def __call__(self, record: CheckpointRecord) -> None:
        """The metrics that are finite as scalars, and the reference as a text, at the record's step."""
        step = record.moment.step
        for name, value in finite(record.metrics).items():
            self.writer.add_scalar(name, value, step)
        self.writer.add_text(
            "holdfast/checkpoint", json.dumps(described(record, self._directory), sort_keys=True), step
        )
        self.writer.flush()

    @property
    def writer(self) -> SummaryWriter:
        """For curves of one's own: another one after each `rewind`, so ask for it each time.

        What another `SummaryWriter` logs to this directory before `rewind` is forgotten with the rest.
        """
        if self._writer is None:
            self._writer = SummaryWriter(self._events)
        return self._writer

    def rewind(self, record: CheckpointRecord) -> None:
        """Training goes back to `record`: TensorBoard forgets what was logged for later steps (its `purge_step`)."""
        self.close()
        self._outlast()
        self._writer = SummaryWriter(self._events, purge_step=record.moment.step + 1)
        self._writer.flush()

    def close(self) -> None:
        """Write what is left, and close the file."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def _outlast(self) -> None:
        """Wait, at most a second, until a new file has another time in its name than those that are there.

        TensorBoard reads them in the order of their names. Within a second that is decided by the process's
        number, and what is to be forgotten might come after its end.
        """
        names = (file.name.split(".") for file in Path(self._events).glob("events.out.tfevents.*"))
        newest_s = max((int(parts[3]) for parts in names if parts[3].isdigit()), default=0)
        now_s = time.time()
        if int(now_s) == newest_s:
            time.sleep(newest_s + 1 - now_s)
