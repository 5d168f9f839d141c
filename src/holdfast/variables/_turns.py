"""The iterator that a run gives to a loop: it tells when the loop begins, and lets an `enumerate` around it continue."""

from __future__ import annotations

import gc
import inspect
import itertools
import sys
from collections.abc import Callable, Iterator, Sequence
from types import GeneratorType
from typing import Any, Generic, Protocol, TypeVar, final

_COUNTS_ANEW = (
    "an enumerate around something that goes over the run's iterator starts at its first index: put it directly around the iterator, "
    "as in tqdm(enumerate(run.batches(loader))), or use run.batch, the index in the epoch, or run.step"
)
_BESIDE = "what a zip takes beside the run's iterator starts at its beginning: run.batches(one, other) goes through several loaders"

_CUT_ANEW = (
    "an islice around the run's iterator counts from its start again, and so gives more than it would have: "
    "leave the loop by a break, as in if run.batch == 3, or use run.steps"
)

_HOLDS = "{} around the run's iterator holds items, or counts them, and starts anew: keep in a variable what the loop needs of the turn before"
_OF_PYTHON = (enumerate, filter, map, zip)
_UNDERSTOOD = (*_OF_PYTHON, itertools.islice, itertools.chain, itertools.starmap, itertools.takewhile)

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
        turned: called for each item, before the loop has it.
        ended: called when there are no more.
        report: told what else goes over this, and starts at its beginning though this does not, a sentence each.
    """

    def __init__(
        self,
        inner: Items[Item],
        begin: Callable[[], None],
        entered: Callable[[], int],
        turned: Callable[[], None] | None,
        ended: Callable[[], None],
        report: Callable[[Sequence[str]], None],
    ) -> None:
        self._inner, self._begin, self._entered, self._ended = inner, begin, entered, ended
        self._turned, self._report = turned, report
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
            if done := self._entered():
                if found := self._starting_over():
                    self._report(found)
                self._count_on(done)
        if self._turned is not None:
            self._turned()
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
        for around in gc.get_referrers(self):
            if type(around) is enumerate:
                self._to_skip = done
                for _ in range(done):
                    next(around)

    def _starting_over(self) -> list[str]:
        """A sentence for each thing that does.

        An `enumerate` around a generator that is running here (such as tqdm's, around this) cannot be moved on, since
        a generator that is running cannot give more; nor can what a `zip` takes beside this.
        """
        running, frame = set[int](), sys._getframe(1)
        while frame is not None:
            if frame.f_code.co_flags & inspect.CO_GENERATOR:
                running.add(id(frame))
            frame = frame.f_back
        starts: list[Any] = [self]
        if running:
            starts += [
                each
                for each in gc.get_objects()
                if type(each) is GeneratorType and id(each.gi_frame) in running
            ]
        around = _around(starts)
        is_numbered = any(type(each) is enumerate and self not in gc.get_referents(each) for each in around)
        beside = any(type(each) is zip and len(_inner(each)) > 1 for each in around)
        is_cut = any(type(each) is itertools.islice for each in around)
        found = ((is_numbered, _COUNTS_ANEW), (beside, _BESIDE), (is_cut, _CUT_ANEW))
        others = {type(each).__name__ for each in around if type(each) not in _UNDERSTOOD}
        return [said for is_found, said in found if is_found] + [
            _HOLDS.format(f"itertools.{name}") for name in sorted(others)
        ]


def _around(starts: list[Any]) -> list[Any]:
    """The iterators of Python's own that go over these, or over one that does."""
    found: list[Any] = []
    waiting, seen = starts, {id(starts)}
    while waiting:
        holders = [
            each
            for held in waiting
            for each in gc.get_referrers(
                held
            )  # of one: from Python 3.13 on, the arguments' own tuple is found, too
            if id(each) not in seen
            and (type(each) is tuple or _is_of_python(each))  # a zip holds its parts in a tuple
        ]
        seen |= {id(holders), *map(id, holders)}
        found += [each for each in holders if type(each) is not tuple]
        waiting = holders
    return found


def _is_of_python(value: Any) -> bool:
    return type(value) in _OF_PYTHON or (type(value).__module__ == "itertools" and hasattr(value, "__next__"))


def _inner(around: Any) -> tuple[Any, ...]:
    return around.__reduce__()[1]
