"""The iterator that a run gives to a loop: it tells when the loop begins, and lets an `enumerate` around it continue."""

from __future__ import annotations

import gc
import inspect
import sys
from collections.abc import Callable, Iterator
from types import GeneratorType
from typing import Any, Generic, Protocol, TypeVar, final

_COUNTS_ANEW = (
    "an enumerate around something that goes over the run's iterator starts at its first index: put it directly around the iterator, "
    "as in tqdm(enumerate(run.batches(loader))), or use run.batch, the index in the epoch, or run.step"
)
_BESIDE = "what a zip takes beside the run's iterator starts at its beginning: run.batches(one, other) goes through several loaders"

Item = TypeVar("Item")
Given = TypeVar("Given", covariant=True)


class Items(Protocol[Given]):
    """What a loop goes over: an iterator that knows how much it gives, and can be closed."""

    def __iter__(self) -> Iterator[Given]: ...
    def __next__(self) -> Given: ...
    def __len__(self) -> int: ...
    def close(self) -> None: ...


@final
class Turns(Generic[Item]):
    """The items of `inner`.

    Args:
        begin: called before the first item is taken.
        entered: called once there is one; answers how many items the loop has had before it was interrupted.
        ended: called when there are no more.
    """

    def __init__(
        self,
        inner: Items[Item],
        begin: Callable[[], None],
        entered: Callable[[], int],
        ended: Callable[[], None],
    ) -> None:
        self._inner, self._begin, self._entered, self._ended = inner, begin, entered, ended
        self._has_begun = self._has_entered = False
        self._to_skip = 0

    def __iter__(self) -> Iterator[Item]:
        return self

    def __next__(self) -> Item:
        if self._to_skip:
            self._to_skip -= 1
            return None  # type: ignore[return-value]  # for an `enumerate` that is to count on
        if not self._has_begun:
            self._has_begun = True
            self._begin()
        try:
            item = next(self._inner)
        except StopIteration:
            self._ended()
            raise
        if not self._has_entered:
            self._has_entered = True
            self._count_on(self._entered())
        return item

    def __len__(self) -> int:
        return len(self._inner)

    def close(self) -> None:
        """End the loop."""
        self._inner.close()

    def _count_on(self, done: int) -> None:
        """Let an `enumerate` around this give the index that it would have been at.

        It takes its index only once it has the item, so items that it takes in between move the index on.
        """
        if not done:
            return
        for around in gc.get_referrers(self):
            if type(around) is enumerate:
                self._to_skip = done
                for _ in range(done):
                    next(around)

    def starting_over(self) -> list[str]:
        """What else goes over this iterator, and starts at its beginning though this does not; a sentence each.

        An `enumerate` around a generator that is running here (such as tqdm's, around this) cannot be moved on, since
        a generator that is running cannot give more; nor can what a `zip` takes beside this.
        """
        running, frame = set(), sys._getframe(1)
        while frame is not None:
            if frame.f_code.co_flags & inspect.CO_GENERATOR:
                running.add(id(frame))
            frame = frame.f_back
        parts = [
            each for each in gc.get_referrers(self) if type(each) is tuple
        ]  # a zip holds its parts in one
        zips = [each for each in gc.get_referrers(*parts) if type(each) is zip] if parts else []
        if running:
            zips += [each for each in gc.get_objects() if type(each) is zip and _goes_over(each, running)]
        is_numbered = any(type(each) is enumerate for one in zips for each in gc.get_referrers(one)) or (
            bool(running)
            and any(_goes_over(each, running) for each in gc.get_objects() if type(each) is enumerate)
        )
        beside = any(len(_inner(each)) > 1 for each in zips)
        return [*([_COUNTS_ANEW] if is_numbered else []), *([_BESIDE] if beside else [])]


def _inner(around: Any) -> tuple[Any, ...]:
    return around.__reduce__()[1]


def _goes_over(around: Any, frames: set[int]) -> bool:
    return any(isinstance(each, GeneratorType) and id(each.gi_frame) in frames for each in _inner(around))
