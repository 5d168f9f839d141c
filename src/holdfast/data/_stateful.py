"""Batches of a loader that keeps a state of its own (`state_dict` and `load_state_dict`), such as torchdata's."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from typing import Any, final

from .. import rng
from ._attributes import OwnAttributes
from ._batch import Batch
from ._generators import Drawing, OwnGenerators, reachable_generators
from ._indices import has_state
from ._iterable import length_of, refuse_one_shot
from ._nodes import beginning, drawn_from, nodes_in, reads_ahead
from ._parts import dataset_of, parts_of
from ._source import Position
from ._stream import StreamLoader
from ._values.held import HeldValues

_KIND = "stateful loader"
_KNOWN = frozenset({"builtins", "datasets", "holdfast", "numpy", "torch", "torchdata"})
"""Whose states, and orders, are known to hold all that decides the next batch, or what they lack."""
_IN_ORDER = frozenset({"NoneType", "SequentialSampler"})
_METHODS = ("__iter__", "state_dict", "load_state_dict")
_METHODS_OF_NODES = ("next", "reset", "get_state")


@final
class StatefulBatches(Drawing):
    """Resumes where the loader's own state says; generators that the loader forgets are saved too.

    (torchdata 0.11 restores a generator as it was at the epoch's start, so that the *next* epoch differs.) Its state is
    loaded with the random states of the epoch's start: where it holds only how many indices were read, as in
    `torchdata.nodes`, they are drawn again.
    """

    def __init__(self, loader: Any, as_batch: Callable[[Any], Any]) -> None:
        refuse_one_shot(loader)
        self._loader, self._as_batch = loader, as_batch
        self._generators = OwnGenerators(loader)
        self._attributes = OwnAttributes(loader)
        self._held = HeldValues(dataset_of(loader))
        self._position = Position()
        self._before: dict[str, Any] = {}  # random states from before the epoch's iterator was made
        self._reads_ahead, self._drawn_ahead = reads_ahead(loader), list[str]()
        self._foreign = kinds_of_others(loader)

    @property
    def num_batches(self) -> int | None:
        return length_of(self._loader)

    @property
    def exactness(self) -> str:
        return self.foreign_state or self._known_exactness

    @property
    def foreign_state(self) -> str | None:
        if not self._foreign or self._known_exactness != "exact":
            return None
        return f"whether all that decides the next batch comes back with {' and '.join(self._foreign)} is not known"

    @property
    def _known_exactness(self) -> str:
        if (said := getattr(self._loader, "exactness", "exact")) != "exact":  # one of ours, around another
            return said
        if self._drawn_ahead:
            return f"not exact: the loader reads ahead, and draws from {', '.join(self._drawn_ahead)} for batches not handed out yet"
        if any(loses_its_buffer(part) for part in (self._loader, getattr(self._loader, "dataset", None))):
            return (
                "a shuffle buffer of datasets is refilled, so the samples in it are missing from this epoch: "
                "allow_reread=True reads the epoch again instead"
            )
        if isinstance(self._loader, StreamLoader):  # which has no sampler
            return "exact"
        dataset = getattr(self._loader, "dataset", None)
        sampler = getattr(self._loader, "batch_sampler", None)
        if dataset is not None and not hasattr(dataset, "state_dict"):
            return "exact only if the dataset's iterator has a state: the dataset has none, and would be read again"
        if hasattr(dataset, "__getitem__") and type(sampler).__module__.partition(".")[0] != "torchdata":
            return "exact only if the batch sampler has a state, or draws from no generator"
        return "exact"

    @property
    def differences(self) -> list[str]:
        found = [*self._generators.differences, *self._attributes.not_put_back]
        return [*found, *getattr(self._loader, "differences", ())]

    def begin(self, epoch: int) -> Iterator[Batch]:
        self._generators.enter(epoch)
        self._before = {"streams": rng.capture_state(), "generators": self._generators.get_state(num_read=0)}
        self._position = Position(epoch, 0, finished=False)
        return self._position.count(iter(self._loader), self._as_batch)

    def get_state(self) -> dict[str, Any]:
        state = self._position.to_state(_KIND)
        if self._position.epoch is not None:
            # Copied: it may share objects that the loader still changes.
            state["loader"] = copy.deepcopy(self._loader.state_dict())
        generators = self._generators.get_state(self._position.batch)
        if self._position.mid_epoch:
            state["before"] = self._before
            self._drawn_ahead = (
                drawn_from(self._before["generators"], generators) if self._reads_ahead else []
            )
        return state | self._attributes.facts() | {"generators": generators}

    def resume(self, state: Mapping[str, Any]) -> Iterator[Batch]:
        position = Position.from_state(state, _KIND)
        rest: Iterator[Any] = iter(())
        if position.epoch is not None:
            self._generators.enter(position.epoch)
            if (before := state.get("before")) is not None:
                self._before = dict(before)
                self._generators.set_state(before["generators"])
                rng.restore_state(before["streams"])
            # At an epoch's end too: draws made to create the iterator now do not count, those of the next epoch do.
            with beginning(self._loader, is_inside=position.mid_epoch):
                self._loader.load_state_dict(copy.deepcopy(state["loader"]))
                rest = iter(self._loader)
        self._generators.set_state(state["generators"])
        self._attributes.set_state(state.get("attributes", {}))
        self._position = position
        return position.count(rest, self._as_batch) if position.mid_epoch else iter(())

    def describe(self) -> dict[str, Any]:
        loader = self._loader
        return {
            "kind": _KIND,
            "type": type(loader).__name__,
            "num_batches": self.num_batches,
            "batch_size": getattr(loader, "batch_size", None),
            "drop_last": getattr(loader, "drop_last", None),
            "num_workers": getattr(loader, "num_workers", None),
            **self._held.facts(),
            **getattr(loader, "facts", {}),  # of one of ours, around another
        }


def kinds_of_others(loader: Any) -> list[str]:
    """The types of a loader, its datasets, samplers and nodes that tell a state of their own, in code of other libraries or scripts."""
    parts: list[tuple[Any, tuple[str, ...]]] = [
        (each, _METHODS)
        for name, each in parts_of(loader).items()
        if each is loader or (name.endswith(("dataset", "sampler")) and has_state(each))
    ]
    for node in nodes_in(loader):
        parts.append((node, _METHODS_OF_NODES))
        wrapped = [getattr(node, name, None) for name in ("sampler", "iterable")]
        # Without a state of its own it is read again.
        parts += [
            (each, _METHODS if has_state(each) else _METHODS[:1]) for each in wrapped if each is not None
        ]
    return list(dict.fromkeys(type(each).__name__ for each, methods in parts if _is_of_others(each, methods)))


def may_forget(value: Any) -> bool:
    """Whether this is a loader that may give another order than it would have once its own state was loaded, and nothing else."""
    if not callable(getattr(type(value), "__iter__", None)) or not has_state(value):
        return False
    nodes = nodes_in(value)
    samplers = [type(getattr(node, "sampler", None)).__name__ for node in nodes]
    if kinds_of_others(value) or not {*samplers} <= _IN_ORDER:
        return True
    generators = reachable_generators(parts_of(value))  # torchdata's own samplers keep theirs
    return any(nodes or ".sampler" not in name for name in generators)


def _is_of_others(part: Any, methods: tuple[str, ...]) -> bool:
    """Whether one of these methods is, or may be, not of a library that is known."""
    for method in methods:
        home = next((each for each in type(part).__mro__ if method in vars(each)), None)
        if home is None or home.__module__.partition(".")[0] not in _KNOWN:
            return True
    return False


def loses_its_buffer(data: Any) -> bool:
    """Whether this is an iterable of Hugging Face's `datasets` that shuffles in a buffer, which its state leaves out."""
    waiting = [getattr(data, "_ex_iterable", None)]
    while waiting:
        part = waiting.pop()
        if type(part).__name__ == "BufferShuffledExamplesIterable":
            return True
        inner = (getattr(part, "ex_iterable", None), *getattr(part, "ex_iterables", ()))
        waiting += [each for each in inner if each is not None]
    return False
