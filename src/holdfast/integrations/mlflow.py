"""MLflow: note each checkpoint in a run, by reference.

    note = MLflowNotes()                                  # the active run, else a new one
    rule = Checkpointing(mode="disk", …, on_saved=note)

No byte of a checkpoint is copied: the run gets its path, id and parent as tags, and its metrics at their step.
"""

# pyright: reportMissingImports=false

from __future__ import annotations

import json
import os
from typing import Any, final

import mlflow
from mlflow.tracking import MlflowClient

from ..records import CheckpointRecord
from .backends.notes import described, finite

TAG = "holdfast"


@final
class MLflowNotes:
    """Called with the record of each committed checkpoint, in whatever thread wrote it.

    MLflow keeps every value that a metric ever had. So, when training has gone back to an earlier checkpoint,
    what is noted again for a step stands beside the old value; `rewind` marks what is void. It cannot take it away.

    Args:
        run_id: the MLflow run; None: the active one.
        directory: of the checkpoints, noted with each of them.

    Raises:
        MlflowException: there is no such run.
        ValueError: `run_id` is None and no run is active.
    """

    def __init__(self, run_id: str | None = None, *, directory: str | os.PathLike[str] | None = None) -> None:
        self._directory = directory
        active = mlflow.active_run()
        if run_id is None and active is None:
            raise ValueError("no MLflow run is active: call mlflow.start_run() before, or pass run_id=")
        self.run_id: str = run_id or active.info.run_id  # type: ignore[union-attr]
        self._client = MlflowClient()
        self._client.get_run(self.run_id)

    def __call__(self, record: CheckpointRecord) -> None:
        """Tags `holdfast.latest` and `holdfast.NAME` with the reference; the metrics that are finite."""
        note = json.dumps(described(record, self._directory), sort_keys=True)
        self._client.set_tag(self.run_id, f"{TAG}.latest", note)
        self._client.set_tag(self.run_id, f"{TAG}.{record.name}", note)
        for name, value in finite(record.metrics).items():
            self._client.log_metric(self.run_id, name, value, step=record.moment.step)

    def rewind(self, record: CheckpointRecord) -> list[str]:
        """Training goes back to `record`: mark the notes of later steps as void; returns the checkpoints' names."""
        tags: dict[str, Any] = self._client.get_run(self.run_id).data.tags
        void: list[str] = []
        for tag, text in tags.items():
            name = tag.removeprefix(f"{TAG}.")
            if tag.startswith(f"{TAG}.") and name not in ("latest", "rewound_to"):
                note = json.loads(text)
                if note["step"] > record.moment.step and not note.get("void"):
                    self._client.set_tag(self.run_id, tag, json.dumps(note | {"void": True}, sort_keys=True))
                    void.append(name)
        note = json.dumps(described(record, self._directory), sort_keys=True)
        self._client.set_tag(self.run_id, f"{TAG}.latest", note)
        self._client.set_tag(self.run_id, f"{TAG}.rewound_to", note)
        return sorted(void)
