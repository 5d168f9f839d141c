"""The random states of a `DataLoader`'s workers: reported with each batch, and set again in new workers.

A worker draws in the order in which it makes its batches, so its random states are known after each of them, whatever
the others do. Covered are the global generators of Python, NumPy and torch, and the generators that can be reached from the worker's own
copy of the dataset, its collation, and what `worker_init_fn` made.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeAlias

from .. import rng
from ._generators import reachable_generators
from ._parts import parts_of

Streams: TypeAlias = dict[str, Any]


class Made(NamedTuple):
    """A batch as a worker made it; what it may draw next, or None for what it would have drawn at its start."""

    batch: Any
    worker: int
    drew: bool
    streams: Streams | None
    late: tuple[str, ...] = ()  # the generators created only for its first sample


class WorkerStreams:
    """Wraps a loader's `worker_init_fn` and `collate_fn`, both of which workers call.

    Args:
        outlive_epochs: workers are persistent: a later epoch needs what they drew from at their start.
    """

    def __init__(
        self,
        collate: Callable[[Any], Any],
        init: Callable[[int], None] | None,
        outlive_epochs: bool,
    ) -> None:
        self._collate, self._init = collate, init
        self._outlive_epochs = outlive_epochs
        self.set_next({}, num_again=0)

    def set_next(self, streams: Mapping[str, Streams], num_again: int) -> None:
        """Set what workers started from now on begin with.

        Args:
            streams: random states of the workers of another process, by number; missing ones start as new workers do.
            num_again: so many workers, from the first on, are given a batch of indices that was handed out
                already, so that each batch after it is made by the worker that would have made it.
        """
        self._next, self._num_again = dict(streams), num_again

    # --- in a worker ------------------------------------------------------------------------------

    def init(self, worker: int) -> None:
        if self._init is not None:
            self._init(worker)
        self._worker, self._again, self._drew = worker, worker < self._num_again, False
        self._late: tuple[str, ...] | None = None
        self._generators = self._look()
        if (streams := self._next.get(str(worker))) is not None:
            self._set(streams)
        self._at_start, self._would_draw = self._get(), self._draws()

    def collate(self, samples: Any) -> Made:
        if self._again:  # its draws for this batch were made then
            self._again = False
            self._set(self._at_start)
            return Made(None, self._worker, False, None)
        batch = self._collate(samples)
        if self._late is None:
            found = self._look()
            self._late, self._generators = tuple(sorted(found.keys() - self._generators.keys())), found
        self._drew = self._drew or self._draws() != self._would_draw
        known = self._get() if self._drew or self._outlive_epochs else None
        return Made(batch, self._worker, self._drew, known, self._late)

    def _look(self) -> dict[str, Any]:
        from torch.utils.data import get_worker_info

        info = get_worker_info()
        assert info is not None, "only a worker makes batches"
        functions = {"collate_fn": self._collate, "worker_init_fn": self._init}
        return reachable_generators(parts_of(info.dataset, "dataset") | functions)

    def _get(self) -> Streams:
        streams = rng.capture_state()
        streams["torch"] = {"cpu": streams["torch"]["cpu"]}  # no worker draws from a device
        own = {name: rng.generator_state(each) for name, each in self._generators.items()}
        return {"global": streams, "own": own}

    def _set(self, streams: Streams) -> None:
        rng.restore_state(streams["global"])
        for name in streams["own"].keys() & self._generators.keys():
            rng.set_generator_state(self._generators[name], streams["own"][name])

    def _draws(self) -> dict[str, str]:
        own = {f"own {name}": rng.next_draw(each) for name, each in self._generators.items()}
        return rng.draws() | own
