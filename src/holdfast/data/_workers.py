"""Whether a `DataLoader`'s workers draw from their global random streams, which no resume can bring back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .. import rng


class WorkerWatch:
    """Wraps a loader's `worker_init_fn` and `collate_fn`, both of which workers call.

    When a worker has started, and after each of its batches, it asks what its streams would give
    next; once that has changed, a flag in shared memory says so, and it asks no more. It sees Python's,
    NumPy's and torch's global streams, not a generator that a dataset makes for itself in the worker.
    """

    def __init__(self, collate: Callable[[Any], Any], init: Callable[[int], None] | None) -> None:
        import torch

        self._collate, self._init = collate, init
        self._drew = torch.zeros(1, dtype=torch.uint8).share_memory_()
        self._at_start: dict[str, str] | None = None

    @property
    def drew(self) -> bool:
        return bool(self._drew.item())

    def init(self, worker_id: int) -> None:
        if self._init is not None:
            self._init(worker_id)
        self._at_start = rng.draws()

    def collate(self, samples: Any) -> Any:
        batch = self._collate(samples)
        if not self._drew[0] and rng.draws() != self._at_start:
            self._drew[0] = 1
        return batch
