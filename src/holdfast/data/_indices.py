"""A loader's index sampler from a batch on, keeping track of what was drawn and what was handed out.

It is always one batch of indices ahead of what has been handed out, so that the next can be told
without moving anything: a sampler draws at the same points of a run, whether a checkpoint is made or not.
"""

from __future__ import annotations

import copy
from collections import deque
from collections.abc import Iterable, Iterator
from functools import partial
from typing import Any, Protocol, TypeGuard

import numpy as np
from blake3 import blake3

from .. import rng
from ..errors import UsageError

_WATCHED_DRAWS = 8  # a sampler that draws from a global generator for each batch shows it soon


class _Stateful(Protocol):
    def state_dict(self) -> Any: ...
    def load_state_dict(self, state: Any, /) -> Any: ...


class IndexSampler:
    """Stands in a `DataLoader` for its own batch sampler (or sampler) and begins at batch `start`.

    In a loader that tells its state (torchdata's) this tells the sampler's and its iterator's, which are part of that.
    """

    def __init__(self, sampler: Iterable[Any], watch: bool, *, tells_state: bool = False) -> None:
        self.sampler: Any = sampler
        self.start = 0
        self.silent = False  # gives nothing: only lets the loader create its iterator
        self.current: IndexIterator | None = None
        self.draws_globally = False  # found out while an epoch ran, where `watch` is True
        self._watch = watch
        self.tells_state = tells_state
        if tells_state and has_state(sampler):
            self.state_dict, self.load_state_dict = self._tell, sampler.load_state_dict

    def _tell(self) -> Any:
        return self.sampler.state_dict() if self.current is None else self.current.tell(self.sampler)

    def __len__(self) -> int:
        return len(self.sampler)  # a sampler without it raises TypeError, as it does itself

    def __iter__(self) -> Iterator[Any]:
        if self.silent:
            return iter(())
        self.current = IndexIterator(self, iter(self.sampler), self.start)
        return self.current

    def draw(self, indices: Iterator[Any], num_drawn: int) -> Any:
        if not self._watch or self.draws_globally or not 0 < num_drawn <= _WATCHED_DRAWS:
            return next(indices)
        before = rng.draws()
        try:
            return next(indices)
        finally:
            self.draws_globally = rng.draws() != before


class IndexIterator:
    """One epoch's batches of indices: drawn, then given to the loader, then handed out by it."""

    def __init__(self, owner: IndexSampler, indices: Iterator[Any], start: int) -> None:
        self._owner, self._indices, self._to_skip = owner, indices, start
        self._drawn: deque[Any] = deque()  # not given to the loader yet
        self._given: deque[Any] = deque()  # the loader has them; workers look ahead
        self._num_drawn = 0
        self._ended = False
        self._handed_out = blake3()
        self._telling = [each for each in (owner.sampler, indices) if owner.tells_state and has_state(each)]
        self._told: list[Any] = []  # before the batch that is ahead was drawn
        if indices in self._telling:
            self.state_dict, self.load_state_dict = partial(self.tell, indices), indices.load_state_dict

    def tell(self, part: Any) -> Any:
        """The state of the sampler or of its iterator, as it would be if no batch were drawn ahead."""
        return self._told[self._telling.index(part)] if self._drawn else part.state_dict()

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        self._draw_ahead()
        if not self._drawn:
            raise StopIteration
        self._given.append(self._drawn.popleft())
        return self._given[-1]

    def peek(self) -> Any | None:
        """The indices of the next batch to be handed out; None at the end."""
        if not self._given:
            self._draw_ahead()
        ahead = self._given or self._drawn
        return ahead[0] if ahead else None

    def hand_out(self) -> None:
        """The loader gave the next batch."""
        self._handed_out.update(_bytes_of(self._given.popleft()))
        self.peek()

    @property
    def digest(self) -> str:
        """Of all the indices handed out in this epoch, those skipped included."""
        return self._handed_out.hexdigest()

    def _draw_ahead(self) -> None:
        for done in range(self._to_skip):
            try:
                self._handed_out.update(_bytes_of(next(self._indices)))
            except StopIteration:
                raise UsageError(
                    f"the loader's sampler ends after {done} batches, and {self._to_skip} had been used. "
                    "Give the same data as when it was saved."
                ) from None
        self._to_skip = 0
        if not self._drawn and not self._ended:
            try:
                self._told = [copy.deepcopy(each.state_dict()) for each in self._telling]
                self._drawn.append(self._owner.draw(self._indices, self._num_drawn))
                self._num_drawn += 1
            except StopIteration:
                self._ended = True


def has_state(part: Any) -> TypeGuard[_Stateful]:
    return hasattr(part, "state_dict") and hasattr(part, "load_state_dict")


def digest_of(indices: Any) -> str:
    return blake3(_bytes_of(indices)).hexdigest()


def _bytes_of(indices: Any) -> bytes:
    """The same for equal indices, whether they are a list, an array or a tensor; anything else by its `repr`."""
    try:
        return np.asarray(indices, dtype=np.int64).tobytes()
    except (TypeError, ValueError, OverflowError):
        return repr(indices).encode()
