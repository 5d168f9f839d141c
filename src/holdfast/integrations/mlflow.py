"""MLflow: note each checkpoint in a run, by reference.

    note = MLflowNotes()                                  # the active run
    policy = Checkpointing(…, on_saved=note)

No byte of a checkpoint is copied: the run gets its path, id and parent as tags, and its metrics at their step.
"""

# pyright: reportMissingImports=false

from __future__ import annotations

import atexit
import json
import os
from collections.abc import Sequence
from typing import Any, final

import mlflow
from mlflow.entities import Metric, Param
from mlflow.tracking import MlflowClient

from ..records import CheckpointRecord
from ._notes import described, finite

__all__ = ["MLflowNotes"]


def __dir__() -> list[str]:
    return __all__


TAG = "holdfast"
CONTINUED = f"{TAG}.continued_in"
_FACTS = ("latest", "rewound_to", "continued_in")  # tags that are no checkpoint's
_MOST_AT_ONCE = {"metrics": 1000, "params": 100}  # that MLflow takes


@final
class MLflowNotes:
    """Called with the record of each committed checkpoint, in whatever thread wrote it.

    MLflow keeps every value that a metric ever had. So when the run that it is told of resumes from a checkpoint
    (after a kill, by name, by a rollback), and there are values of later steps, `rewind`, which is called by
    itself, resumes in a nested run: it has what stands, parameters and values up to that step, and only that.

    Args:
        run_id: the MLflow run; None: the active one. If it was continued in a nested run, that one.
        directory: of the checkpoints, noted with each of them.

    Attributes:
        run_id: the MLflow run that is noted in: where `mlflow.log_metric(…, run_id=note.run_id)` belongs.

    Raises:
        MlflowException: there is no such run.
        ValueError: `run_id` is None and no run is active.
    """

    def __init__(self, run_id: str | None = None, *, directory: str | os.PathLike[str] | None = None) -> None:
        self._directory = directory
        active = mlflow.active_run()
        if run_id is None and active is None:
            raise ValueError("no MLflow run is active: call mlflow.start_run() before, or pass run_id=")
        self._client = MlflowClient()
        self.run_id: str = run_id or active.info.run_id  # type: ignore[union-attr]
        while (later := self._tags.get(CONTINUED)) is not None:
            self.run_id = later
        self._began: str | None = None  # the nested run that we end

    def __call__(self, record: CheckpointRecord) -> None:
        """Tags `holdfast.latest` and `holdfast.NAME` with the reference; the metrics that are finite."""
        note = self._described(record)
        self._client.set_tag(self.run_id, f"{TAG}.latest", note)
        self._client.set_tag(self.run_id, f"{TAG}.{record.name}", note)
        for name, value in finite(record.metrics).items():
            self._client.log_metric(self.run_id, name, value, step=record.moment.step)

    def rewind(self, record: CheckpointRecord) -> list[str]:
        """Training goes back to `record`: mark the notes of later steps as void; returns the checkpoints' names.

        If values were logged for later steps, by whomever, a nested run resumes without them.
        """
        step = record.moment.step
        stands: dict[str, str] = {}
        void: list[str] = []
        for tag, text in self._tags.items():
            name = tag.removeprefix(f"{TAG}.")
            if name == tag or name in _FACTS:
                continue
            noted = json.loads(text)
            if noted["step"] <= step:
                stands[tag] = text
            elif not noted.get("void"):
                self._client.set_tag(self.run_id, tag, json.dumps(noted | {"void": True}, sort_keys=True))
                void.append(name)
        note = self._described(record)
        facts = {f"{TAG}.latest": note, f"{TAG}.rewound_to": note}
        for tag in facts:
            self._client.set_tag(self.run_id, tag, note)
        points = self._points()
        if any(each.step > step for each in points):
            self._resume_nested(record, [each for each in points if each.step <= step], stands | facts)
        return sorted(void)

    def close(self) -> None:
        """End the nested run, if there is one; done at the latest when the process ends."""
        if self._began is not None:
            self._client.set_terminated(self._began)
            self._began = None
            atexit.unregister(self.close)

    def _resume_nested(
        self, record: CheckpointRecord, points: Sequence[Metric], tags: dict[str, str]
    ) -> None:
        before = self._client.get_run(self.run_id)
        name = f"{before.info.run_name} from {record.name}"
        tags = tags | {"mlflow.parentRunId": self.run_id}
        nested = self._client.create_run(before.info.experiment_id, tags=tags, run_name=name).info.run_id
        parameters = [Param(name, value) for name, value in before.data.params.items()]
        for kind, entries in {"metrics": points, "params": parameters}.items():
            most = _MOST_AT_ONCE[kind]
            for start in range(0, len(entries), most):
                self._client.log_batch(nested, **{kind: entries[start : start + most]})
        self._client.set_tag(self.run_id, CONTINUED, nested)
        self.close()
        self.run_id = self._began = nested
        atexit.register(self.close)

    def _points(self) -> list[Metric]:
        names = self._client.get_run(self.run_id).data.metrics
        return [each for name in names for each in self._client.get_metric_history(self.run_id, name)]

    @property
    def _tags(self) -> dict[str, Any]:
        return self._client.get_run(self.run_id).data.tags

    def _described(self, record: CheckpointRecord) -> str:
        return json.dumps(described(record, self._directory), sort_keys=True)
