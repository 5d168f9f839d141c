"""Batches of a `Dataset`: the order is a function of (seed, epoch), so any batch can be the first."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, final

import numpy as np
import numpy.typing as npt
from blake3 import blake3

from ..errors import UsageError
from ._batch import Batch
from ._dataset import Dataset
from ._order import order
from ._source import Position

_KIND = "holdfast Dataset"


@final
class DatasetBatches:
    """Rows of a `Dataset` in batches, shuffled anew each epoch; draws from no global generator."""

    exactness = "exact"
    differences = ()
    generators: Mapping[str, Any] = MappingProxyType({})

    def __init__(
        self,
        dataset: Dataset,
        *,
        batch_size: int | None = None,
        shuffle: bool = True,
        seed: int = 0,
        drop_last: bool = False,
        columns: Sequence[str] | None = None,
    ) -> None:
        if batch_size is not None and (not isinstance(batch_size, int | np.integer) or batch_size < 1):
            raise UsageError(f"batch_size must be an integer >= 1, not {batch_size!r}.")
        if isinstance(seed, bool) or not isinstance(seed, int | np.integer):
            raise UsageError(f"seed must be an integer, not {seed!r}.")
        self._columns = dataset.columns if columns is None else tuple(columns)
        dataset.take(np.zeros(0, np.int64), self._columns)  # fail now for an unknown column
        self._dataset, self._shuffle, self._seed, self._drop_last = dataset, shuffle, seed, drop_last
        self._batch_size = len(dataset) if batch_size is None else batch_size
        if not self.num_batches:
            raise UsageError(f"drop_last leaves no batch: {len(dataset)} rows, batch_size={batch_size}")
        self._position = Position()
        self._rows: npt.NDArray[np.int64] = np.zeros(0, np.int64)  # the order of the current epoch

    @property
    def num_batches(self) -> int:
        full, rest = divmod(len(self._dataset), self._batch_size)
        return full + (rest > 0 and not self._drop_last)

    def begin(self, epoch: int) -> Iterator[Batch]:
        return self._start(Position(epoch, 0, finished=False))

    def get_state(self) -> dict[str, Any]:
        return self._position.to_state(_KIND)

    def resume(self, state: Mapping[str, Any]) -> Iterator[Batch]:
        position = Position.from_state(state, _KIND)
        if position.batch > self.num_batches:
            raise UsageError(
                f"{position.batch} batches had been used, and an epoch now has {self.num_batches}"
            )
        return self._start(position)

    def describe(self) -> dict[str, Any]:
        return {
            "kind": _KIND,
            "size": len(self._dataset),
            "batch_size": self._batch_size,
            "shuffle": self._shuffle,
            "seed": self._seed,
            "drop_last": self._drop_last,
            "columns": list(self._columns),
            "digest": self._dataset.digest,
        }

    def fingerprint(self) -> str | None:
        if self._position.finished:
            return None
        return blake3(self._batch_rows(self._position.batch).tobytes()).hexdigest()

    def _start(self, position: Position) -> Iterator[Batch]:
        self._position = position
        if position.epoch is None or position.finished:
            return iter(())
        self._rows = order(self._seed, position.epoch, len(self._dataset), self._shuffle)
        batches = map(self._batch_rows, range(position.batch, self.num_batches))
        return position.count(batches, lambda rows: self._dataset.take(rows, self._columns), self.num_batches)

    def _batch_rows(self, batch: int) -> npt.NDArray[np.int64]:
        return self._rows[batch * self._batch_size : (batch + 1) * self._batch_size]
