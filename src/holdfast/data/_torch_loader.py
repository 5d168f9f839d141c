"""Batches of a `torch.utils.data.DataLoader` over a map-style dataset, resumable at any batch.

Kept are the random states from before the epoch's iterator was made, and how many batches were handed
out. A resume sets those states and makes the iterator over the loader's own sampler, cut at that batch:
indices are drawn again, no sample is read. Each worker continues with the random states it had; they take batches in
turns, so as many as have had one more than the others read theirs again.
"""

from __future__ import annotations

import copy
import weakref
from collections.abc import Callable, Iterator, Mapping
from itertools import chain, islice
from typing import Any, final

from .. import rng
from .._wording import a
from ..errors import UsageError
from ._attributes import OwnAttributes
from ._batch import Batch
from ._generators import Drawing, OwnGenerators
from ._indices import IndexSampler, digest_of, has_state
from ._iterable import length_of
from ._parts import parts_of
from ._source import Position
from ._values.held import HeldValues
from ._workers import Made, Streams, WorkerStreams

_KIND = "torch DataLoader"
# They draw at their start, or from a generator of their own.
_TORCH_SAMPLERS = ("torch.utils.data", "torchdata.", "holdfast.")


@final
class TorchLoaderBatches(Drawing):
    """Batches of a torch loader with any sampler, collation and number of workers.

    The loader given is a template and is not iterated: a copy of it is, whose samplers, dataset and
    generators are the same objects. A loader that a resume meets is built as it was at first.
    """

    def __init__(self, loader: Any, as_batch: Callable[[Any], Any]) -> None:
        self._loader, self._as_batch = loader, as_batch
        sampler = loader.sampler if loader.batch_sampler is None else loader.batch_sampler
        samplers = [part for name, part in parts_of(loader).items() if name.endswith("sampler")]
        foreign = any(not type(part).__module__.startswith(_TORCH_SAMPLERS) for part in samplers)
        self._indices = IndexSampler(sampler, watch=foreign, tells_state=has_state(loader))
        self._generators = OwnGenerators(loader)
        self._held = HeldValues(loader.dataset)
        self._twin = loader  # until there is one
        itself = weakref.ref(self)  # in no cycle: its workers end with it
        self._attributes = OwnAttributes(loader, lambda: getattr(itself(), "_twin", loader))
        self._workers: WorkerStreams | None = None
        if loader.num_workers:
            self._workers = WorkerStreams(loader.collate_fn, loader.worker_init_fn, self._persistent)
        self._streams: dict[str, Streams] = {}  # of workers, after the batches that they have handed out
        self._workers_drew, self._made_late = False, set[str]()
        self._of_workers: list[str] = []  # why they do not resume exactly
        self._lazy = False
        self._position = Position()
        self._before: dict[str, Any] = {}  # random states from before the epoch's iterator was made
        self._ends_workers: weakref.finalize[..., Any] | None = None
        self._replace_twin()

    @property
    def num_batches(self) -> int | None:
        return length_of(self._indices)

    @property
    def exactness(self) -> str:
        if self._workers is not None and not self._in_order:
            return "not exact: in_order=False hands batches out in the order in which workers finish them"
        if self._indices.draws_globally:
            return (
                "not exact: the sampler draws from a global generator while the epoch runs, so that whatever else draws from it there "
                "changes the order, and no resume may find the batches that were: give it a generator of its own"
            )
        if self._lazy:
            return f"not exact: {type(self._loader).__name__} creates its iterator only when the first batch is requested"
        return "exact"

    @property
    def differences(self) -> list[str]:
        return [*self._of_workers, *self._generators.differences, *self._attributes.not_put_back]

    def begin(self, epoch: int) -> Iterator[Batch]:
        self._generators.enter(epoch)
        self._before = {"streams": rng.capture_state(), "generators": self._generators.get_state(num_read=0)}
        self._before["warm"] = self._warm
        self._before |= self._attributes.facts()
        if not self._persistent:
            self._streams = {}
        return self._start(Position(epoch, 0, finished=False))

    def get_state(self) -> dict[str, Any]:
        state = self._position.to_state(_KIND)
        state |= {"generators": self._generators.get_state(self._position.batch), "warm": self._warm}
        state |= self._attributes.facts()
        state["batch_size"] = getattr(self._loader, "batch_size", None)
        state |= _if_any("attributes_of_workers", self._attributes.of_workers)
        if self._position.mid_epoch and (current := self._indices.current):
            state |= {"before": self._before, "handed_out": current.digest}
        if self._streams or self._workers_drew:
            lasting = self._position.mid_epoch or self._persistent
            state["workers"] = {
                "number": self._loader.num_workers,
                "drew": self._workers_drew,
                "streams": dict(self._streams) if lasting else {},
                "made_late": sorted(self._made_late) if lasting else [],
            }
        return state

    def resume(self, state: Mapping[str, Any]) -> Iterator[Batch]:
        position = Position.from_state(state, _KIND)
        before = state["before"] if position.mid_epoch else {"warm": state["warm"]}
        self._replace_twin()
        num_again = self._take_up(state.get("workers"), position)
        of_workers = state.get("attributes_of_workers", {})
        for_workers = of_workers.get("changed", {})
        self._of_workers += self._attributes.differences(of_workers)
        if before["warm"]:
            with self._attributes.as_for(for_workers):
                self._warm_up()
        rest: Iterator[Batch] = iter(())
        if position.epoch is not None:
            self._generators.enter(position.epoch)
        if position.mid_epoch:
            self._before = dict(before)
            self._generators.set_state(before["generators"])
            self._attributes.set_state(before.get("attributes", {}))
            rng.restore_state(before["streams"])
            with self._attributes.as_for({} if self._warm else for_workers):
                rest = self._start(position, num_again)
            if self._indices.current is None or self._indices.current.digest != state["handed_out"]:
                raise UsageError(self._not_given(position, state.get("batch_size")))
        if self._workers is not None:
            self._workers.set_next({}, num_again=0)
        self._position = position
        self._generators.set_state(state["generators"])
        self._attributes.set_state(state.get("attributes", {}))
        return rest

    def describe(self) -> dict[str, Any]:
        loader = self._loader
        return {
            "kind": _KIND,
            "size": length_of(loader.dataset),
            "num_batches": self.num_batches,
            "batch_size": loader.batch_size,
            "drop_last": loader.drop_last,
            "sampler": type(loader.sampler).__name__,
            "batch_sampler": None if loader.batch_sampler is None else type(loader.batch_sampler).__name__,
            "num_workers": loader.num_workers,
            **self._held.facts(),
        }

    @property
    def iterated(self) -> Any:
        """The loader whose own state, if it keeps one, is this position; None in an epoch that was resumed in its middle."""
        return None if self._indices.start else self._twin

    def _not_given(self, position: Position, then: int | None) -> str:
        now = getattr(self._loader, "batch_size", None)
        why = (
            f"the batch size was {then} and is {now}"
            if then not in (None, now)
            else "either the data or the sampler changed, or its order depends on more than its generators, the global "
            "random states at the epoch's start, and set_epoch()"
        )
        return (
            f"the loader's sampler no longer gives the {position.batch} batches of indices that it gave in epoch "
            f"{position.epoch}: {why}. Give it what it had; or resume from the end of an epoch, where another batch size is "
            "taken (`holdfast ls` shows the names, for resume='…'); or start again with resume=False in another directory."
        )

    def fingerprint(self) -> str | None:
        if not self._position.mid_epoch or self._indices.current is None:
            return None
        indices = self._indices.current.peek()
        return None if indices is None else digest_of(indices)

    def _take_up(self, saved: Mapping[str, Any] | None, position: Position) -> int:
        """Let new workers continue as the saved ones would; returns how many start with a batch already handed out."""
        self._workers_drew = saved is not None and saved["drew"]
        self._streams, self._of_workers = {}, []
        number = self._loader.num_workers
        if saved is not None and saved["number"] == number:
            self._streams = dict(saved["streams"])
            self._of_workers = [
                f"a worker made the random generator {name} for its first sample: create it in worker_init_fn"
                for name in saved["made_late"]
            ]
        elif saved is not None and saved["drew"]:
            self._of_workers = [
                f"workers draw random numbers, and their number was {saved['number']} and is {number}"
            ]
        if self._workers is None:
            return 0
        num_again = position.batch % number if position.mid_epoch and self._in_order else 0
        self._workers.set_next(self._streams, num_again)
        return num_again

    def _start(self, position: Position, num_again: int = 0) -> Iterator[Batch]:
        """The iterator of the epoch, with the sampler at the position and everything drawn that starting draws."""
        self._position = position
        self._indices.start, self._indices.current = position.batch - num_again, None
        batches = self._iterator()
        self._warm = self._persistent
        self._lazy = self._indices.current is None
        if self._lazy:  # `__iter__` of a subclass is a generator function: only asking for a batch starts it
            batches = chain(list(islice(batches, 1)), batches)
        current = self._indices.current
        if current is None:
            raise UsageError(
                f"{a(type(self._loader).__name__)} does not take its indices from its own sampler, so it cannot resume here: "
                "pass the DataLoader that it was made from. One that accelerate has prepared is saved by "
                "holdfast.integrations.accelerate.hold(accelerator, directory)."
            )
        for _ in islice(batches, num_again):
            current.hand_out()
        current.peek()

        def handed_out(given: Any) -> Any:
            current.hand_out()
            return self._as_batch(given if self._workers is None else self._unpacked(given))

        return position.count(batches, handed_out, self.num_batches)

    def _unpacked(self, made: Made) -> Any:
        self._workers_drew = self._workers_drew or made.drew
        if made.streams is not None:
            self._streams[str(made.worker)] = made.streams
        self._made_late.update(made.late)
        return made.batch

    @property
    def _in_order(self) -> bool:
        return getattr(self._loader, "in_order", True)

    @property
    def _persistent(self) -> bool:
        return bool(self._loader.num_workers and self._loader.persistent_workers)

    def _replace_twin(self) -> None:
        """A copy of the loader over our index sampler; bypassing `__setattr__`, which forbids it for good reasons."""
        if self._ends_workers is not None:
            self._ends_workers()
        twin = copy.copy(self._loader)
        auto_collation = self._loader.batch_sampler is not None
        vars(twin)["batch_sampler" if auto_collation else "sampler"] = self._indices
        vars(twin)["_iterator"] = None
        if hasattr(twin, "_initial_iter_for_state_dict"):  # torchdata's, whose state somebody has looked at
            vars(twin)["_initial_iter_for_state_dict"] = False
        if self._workers is not None:
            twin.collate_fn, twin.worker_init_fn = self._workers.collate, self._workers.init
        self._twin = twin
        # Whether persistent workers already run: their iterator is then reset, not created.
        self._warm = False

    def _iterator(self) -> Iterator[Any]:
        """The copy's iterator. Workers that outlive it end with this source.

        Left to the garbage collector, the pipe to them would be closed first where the source is in a cycle, as a run's
        is: nobody could tell them to end, and torch would wait five seconds for each.
        """
        if self._persistent and not self._warm:
            self._attributes.workers_start()
        batches = iter(self._twin)
        if self._persistent and (self._ends_workers is None or not self._ends_workers.alive):
            self._ends_workers = weakref.finalize(self, _end_workers, batches)
            self._ends_workers.atexit = False  # torch handles that itself
        return batches

    def end_workers(self) -> None:
        """End persistent workers now; the next epoch, if there is one, starts new ones."""
        if self._ends_workers is not None:
            self._ends_workers()
            vars(self._twin)["_iterator"] = None
            self._warm = False

    def _warm_up(self) -> None:
        self._indices.silent = True
        for _ in self._iterator():
            raise AssertionError("no index was given, and yet there is a batch")
        self._indices.silent = False
        self._warm = True


def _if_any(name: str, found: dict[str, Any]) -> dict[str, Any]:
    return {name: found} if found else {}


def _end_workers(batches: Any) -> None:
    if callable(end := getattr(batches, "_shutdown_workers", None)):
        end()
