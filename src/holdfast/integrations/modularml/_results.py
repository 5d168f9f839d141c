"""What a phase of ModularML has recorded, as columns: metrics, and the losses of each batch.

Outputs and inputs of training batches are not kept: they would make each checkpoint as large as the data
seen so far. Of evaluations everything is kept.
"""

# pyright: reportMissingImports=false

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from modularml.core.data.execution_context import ExecutionContext
from modularml.core.experiment.results.metric_store import MetricStore
from modularml.core.experiment.results.train_results import TrainResults
from modularml.core.training.loss_record import LossCollection, LossRecord

from ... import state as states
from ._values import Decoder, Encoder


def metrics_state(store: MetricStore) -> dict[str, Any]:
    """By name: epochs and batches `(entries,)` int64, -1 for no batch, and values `(entries,)` float64."""
    return {
        name: {
            "epoch": np.array([each.epoch_idx for each in entries], np.int64),
            "batch": np.array(
                [-1 if each.batch_idx is None else each.batch_idx for each in entries], np.int64
            ),
            "value": np.array([each.value for each in entries], np.float64),
        }
        for name, entries in store._entries.items()
    }


def fill_metrics(store: MetricStore, state: Mapping[str, Any]) -> None:
    """Put the entries of `metrics_state` in the place of those in the store."""
    store._entries.clear()
    for name, columns in state.items():
        rows = zip(*(columns[each].tolist() for each in ("epoch", "batch", "value")), strict=True)
        for epoch, batch, value in rows:
            store.log(name=name, value=value, epoch_idx=epoch, batch_idx=None if batch < 0 else batch)


class Losses:
    """The losses of each batch so far: rows of numbers, and of whom they are."""

    def __init__(self) -> None:
        self._of: list[tuple[str, str]] = []  # label and node's label
        self._rows: list[list[float]] = []
        self._at: dict[tuple[int, int], int] = {}

    def record(self, epoch: int, batch: int, losses: LossCollection, labels: Mapping[str, str]) -> None:
        records = [each.to_float() for each in losses.values()]
        self._of = [(each.label, labels.get(each.node_id or "", each.node_id or "")) for each in records]
        numbers = [_number(part) for each in records for part in (each.trainable, each.auxiliary)]
        self._at[epoch, batch] = len(self._rows)
        self._rows.append([epoch, batch, *numbers])

    def of(self, epoch: int, batch: int, ids: Mapping[str, str]) -> LossCollection:
        """Those of a batch that was trained before the checkpoint."""
        return self._collection(self._rows[self._at[epoch, batch]][2:], ids)

    def contexts(self, phase: str, ids: Mapping[str, str]) -> list[ExecutionContext]:
        """One for each batch, with its losses and nothing else."""
        made = [ExecutionContext(phase, int(row[0]), int(row[1])) for row in self._rows]
        for context, row in zip(made, self._rows, strict=True):
            context.losses = self._collection(row[2:], ids)
        return made

    def get_state(self) -> dict[str, Any]:
        return {"of": [list(each) for each in self._of], "rows": np.array(self._rows, np.float64)}

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Losses:
        made = cls()
        made._of = [(label, node) for label, node in state["of"]]
        made._rows = state["rows"].tolist()
        made._at = {(int(row[0]), int(row[1])): at for at, row in enumerate(made._rows)}
        return made

    def _collection(self, numbers: list[float], ids: Mapping[str, str]) -> LossCollection:
        pairs = zip(self._of, numbers[::2], numbers[1::2], strict=True)
        return LossCollection(
            [
                LossRecord(label, ids.get(node, node), _maybe(trainable), _maybe(auxiliary))
                for (label, node), trainable, auxiliary in pairs
            ]
        )


def results_state(results: Any, losses: Losses | None, labels: Mapping[str, str]) -> dict[str, Any]:
    """A finished phase's results; `losses` of a training phase stand for its batches."""
    state = {"metrics": metrics_state(results._metrics), "losses": losses and losses.get_state()}
    if losses is None:
        return state | {"whole": Encoder(labels, frozenset({("ExecutionContext", "inputs")})).encode(results)}
    recorded = {(each.epoch_idx, each.batch_idx) for each in results._execution}
    return state | {
        "label": results.label,
        "recorded": [list(each) for each in sorted(recorded)],
        "callbacks": Encoder(labels).encode(results._callbacks),
    }


def results_of(state: Mapping[str, Any], nodes: Mapping[str, Any]) -> Any:
    """The results that `results_state` was made of, in this process."""
    if state["losses"] is None:
        results = Decoder(nodes).decode(state["whole"])
    else:
        ids = ids_of(nodes)
        recorded = {(epoch, batch) for epoch, batch in state["recorded"]}
        results = TrainResults(label=state["label"])
        every = Losses.from_state(state["losses"]).contexts(state["label"], ids)
        results._execution = [each for each in every if (each.epoch_idx, each.batch_idx) in recorded]
        results._callbacks = Decoder(nodes).decode(state["callbacks"])
    results._metrics = MetricStore()
    fill_metrics(results._metrics, state["metrics"])
    return results


def ids_of(nodes: Mapping[str, Any]) -> dict[str, str]:
    """The id of each node of this process, by its label."""
    return {label: node.node_id for label, node in nodes.items()}


def batches_state(executions: Iterable[Any]) -> list[dict[str, Any]]:
    """Which samples each batch holds, in which order: of every sampler, by stream and role."""
    return [
        {
            stream: {
                "sizes": np.array(
                    [view.n_samples for view in execution.sampled.get_stream(stream)], np.int64
                ),
                "rows": _joined(execution.sampled.get_stream(stream), "role_indices"),
                "weights": _joined(execution.sampled.get_stream(stream), "role_indice_weights"),
            }
            for stream in execution.sampled.stream_names
        }
        for execution in executions
    ]


def batch_digest(executions: Iterable[Any], at: int) -> str:
    """Of the samples that each sampler gives at this batch of an epoch; one that has fewer begins again."""
    views = [
        {stream: sampled.get_stream(stream) for stream in sampled.stream_names}
        for sampled in (execution.sampled for execution in executions)
    ]
    rows = [
        {stream: dict(each[at % len(each)].role_indices) for stream, each in one.items()} for one in views
    ]
    return states.digest(states.capture(rows))


def put_batches(executions: Iterable[Any], state: Iterable[Mapping[str, Any]]) -> None:
    """Give the batches the samples that they had: a sampler without a seed has drawn others by now."""
    for execution, streams in zip(executions, state, strict=True):
        for stream, saved in streams.items():
            views = execution.sampled.get_stream(stream)
            ends = np.cumsum(saved["sizes"])[:-1]
            for attribute, part in (("role_indices", "rows"), ("role_indice_weights", "weights")):
                if joined := saved[part]:
                    parts = {role: np.split(rows, ends) for role, rows in joined.items()}
                    for at, view in enumerate(views):
                        object.__setattr__(view, attribute, {role: parts[role][at] for role in parts})


def _joined(views: Iterable[Any], attribute: str) -> dict[str, Any]:
    each = [getattr(view, attribute) or {} for view in views]
    return {role: np.concatenate([one[role] for one in each]) for role in (each[0] if each else ())}


def _number(value: Any) -> float:
    return math.nan if value is None else float(value)


def _maybe(number: float) -> float | None:
    return None if math.isnan(number) else number
