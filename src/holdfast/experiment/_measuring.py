"""Losses, metrics and predictions over all batches of a source, without changing the graph."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..data import BatchSource
from ..errors import UsageError
from ._loss import Averages, Loss, Metric, outputs_needed
from .backends import to_numpy

if TYPE_CHECKING:
    from ._graph import ModelGraph


def measure(
    graph: ModelGraph,
    source: BatchSource,
    losses: Sequence[Loss],
    metrics: Sequence[Metric | Loss],
    epoch: int = 0,
    *,
    keep: Sequence[str] = (),
    kept: dict[str, Any] | None = None,
) -> dict[str, float]:
    """The mean of each loss and metric over all samples, in evaluation behaviour.

    Outputs of the nodes `keep`, a row per sample, are put into `kept` by label.
    """
    measures = [*losses, *metrics]
    outputs_wanted = tuple(dict.fromkeys([*outputs_needed(measures, graph.labels), *keep]))
    averages = Averages()
    parts: dict[str, list[Any]] = {label: [] for label in keep}
    with graph.evaluating():
        for batch in source.begin(epoch):
            outputs = graph.forward(batch, outputs_wanted)
            averages.add({each.label: each(outputs, batch) for each in measures}, num_samples(batch))
            for label in keep:
                parts[label].append(to_numpy(outputs[label]))
    if kept is not None:
        kept.update({label: np.concatenate(rows) for label, rows in parts.items()})
    return averages.means()


def num_samples(batch: Mapping[str, Any]) -> int:
    """Rows of a batch.

    Raises:
        UsageError: no column of it has rows.
    """
    for column in batch.values():
        shape = getattr(column, "shape", ())
        if shape:
            return int(shape[0])
        if isinstance(column, list | tuple):
            return len(column)
    raise UsageError(f"the batch has no rows to count; its columns are {list(batch)}")
