"""Batches of anything that can be iterated again and again: exact at epoch bounds, or read again up to the position."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, final

from .. import rng
from .._wording import a
from ..errors import UsageError
from ._attributes import OwnAttributes
from ._batch import Batch
from ._generators import Drawing, OwnGenerators
from ._parts import dataset_of
from ._source import Position
from ._values.contents import digest_of_contents
from ._values.held import HeldValues

_KIND = "iterable"


@final
class IterableBatches(Drawing):
    """Each epoch is one pass over `data`: a list of batches, or a loader of a stream.

    A sequence starts anywhere. Anything else has no position: in the middle of an epoch a resume is
    refused, unless `allow_reread=True`, which reads the epoch again from its start, under the random
    states of its start, and counts the batches that it dropped in `reread`.
    """

    def __init__(self, data: Any, as_batch: Callable[[Any], Any], *, allow_reread: bool = False) -> None:
        refuse_one_shot(data)
        self._data, self._as_batch, self._allow_reread = data, as_batch, allow_reread
        self._generators = OwnGenerators(data)
        self._attributes = OwnAttributes(data)
        self._held = HeldValues(dataset_of(data))
        self._position = Position()
        self._before: dict[str, Any] = {}
        self._warm = False  # whether a loader's persistent workers already run
        self.reread = 0

    @property
    def num_batches(self) -> int | None:
        return length_of(self._data)

    @property
    def differences(self) -> list[str]:
        return [*super().differences, *self._attributes.not_put_back]

    @property
    def without_position(self) -> str | None:
        """The name of the data's type where a resume in the middle of an epoch is refused; None where it is not."""
        has_one = isinstance(self._data, Sequence) or self._allow_reread
        return None if has_one else type(self._data).__name__

    @property
    def exactness(self) -> str:
        if isinstance(self._data, Sequence):
            return "exact"
        if self._allow_reread:
            return "exact at epoch bounds; within an epoch, if reading it again from its start gives the same batches"
        return "exact at epoch bounds only: the data have neither a sampler nor a state"

    def begin(self, epoch: int) -> Iterator[Batch]:
        self._generators.enter(epoch)
        self._before = {
            "streams": rng.capture_state(),
            "generators": self._generators.get_state(num_read=0),
            "warm": self._warm,
            **self._attributes.facts(),
        }
        self._position = Position(epoch, 0, finished=False)
        return self._position.count(self._iterator(), self._as_batch, self.num_batches)

    def get_state(self) -> dict[str, Any]:
        state = self._position.to_state(_KIND) | {
            "generators": self._generators.get_state(self._position.batch),
            "warm": self._warm,
            **self._attributes.facts(),
        }
        return state | {"before": self._before} if self._position.mid_epoch else state

    def resume(self, state: Mapping[str, Any]) -> Iterator[Batch]:
        position = Position.from_state(state, _KIND)
        before = state.get("before", state)
        if before["warm"] and not self._warm:
            self._iterator()
        rest: Iterator[Any] = iter(())
        if position.epoch is not None:
            self._generators.enter(position.epoch)
        if position.mid_epoch:
            self._generators.set_state(before["generators"])
            self._attributes.set_state(before.get("attributes", {}))
            rng.restore_state(before["streams"])
            rest = self._rest(position.batch)
            self._before = dict(before)
        self._generators.set_state(state["generators"])
        self._attributes.set_state(state.get("attributes", {}))
        self._position = position
        return position.count(rest, self._as_batch, self.num_batches) if position.mid_epoch else rest

    def fingerprint(self) -> str | None:
        """Of a list of batches, the digest of the next batch itself."""
        at = self._position
        if not at.mid_epoch or not isinstance(self._data, list | tuple) or at.batch >= len(self._data):
            return None
        return digest_of_contents(self._data[at.batch])

    def describe(self) -> dict[str, Any]:
        facts = {"kind": _KIND, "type": type(self._data).__name__, "num_batches": self.num_batches}
        return facts | self._held.facts()

    def _rest(self, batch: int) -> Iterator[Any]:
        if isinstance(self._data, Sequence):
            return map(self._data.__getitem__, range(batch, len(self._data)))
        if batch and not self._allow_reread:
            raise UsageError(
                f"{batch} batches of the epoch had been used, and {type(self._data).__name__} has neither a sampler "
                "nor a state, so it cannot resume there. Resume from an epoch's end, give a DataLoader over a "
                "map-style dataset or torchdata's StatefulDataLoader, or pass allow_reread=True to read them again."
            )
        rest = self._iterator()
        dropped = sum(1 for _ in islice(rest, batch))
        self.reread += dropped
        if dropped < batch:
            raise UsageError(
                f"{batch} batches of the epoch had been used, and the data now end after {dropped}"
            )
        return rest

    def _iterator(self) -> Iterator[Any]:
        self._warm = bool(getattr(self._data, "persistent_workers", False))
        return iter(self._data)


def refuse_one_shot(data: Any) -> None:
    """Raises `UsageError` for what can be read only once, as far as one can tell, and for what cannot be iterated."""
    if hasattr(data, "__next__") and _is_own_iterator(data):
        raise UsageError(
            f"{a(type(data).__name__)} is its own iterator, so it may be one that can be read only once, which neither a "
            "second epoch nor a resume could read again. Give a list, a DataLoader, or an object whose __iter__ returns "
            "a new iterator each time."
        )
    if not hasattr(data, "__iter__"):
        raise UsageError(
            f"batches cannot be made of {a(type(data).__name__)}. Give a holdfast.data.Dataset (from_pandas and "
            "from_torch make one), a DataLoader, or a list of batches."
        )


def _is_own_iterator(data: Any) -> bool:
    """Whether a new iterator of `data` is `data`; asking leaves the random states as they are."""
    if not hasattr(data, "__iter__"):
        return True
    generators = OwnGenerators(data)
    states = generators.get_state(num_read=0)
    with rng.preserved():
        found = iter(data) is data
    generators.set_state(states)
    return found


def length_of(data: Any) -> int | None:
    try:
        return len(data)
    except (TypeError, NotImplementedError):
        return None
