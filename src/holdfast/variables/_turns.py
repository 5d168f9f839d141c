"""The iterator that a run gives to a loop: it tells when the loop begins, and lets an `enumerate` around it continue."""

from __future__ import annotations

import dis
import gc
import inspect
import linecache
import re
import sys
from collections.abc import Callable, Iterator
from types import GeneratorType
from typing import Any, Generic, Protocol, TypeVar, final

from ._frames import script_frames

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


def has_enumerate_further_out() -> bool:
    """Whether an `enumerate` goes over a generator that is running here: such as tqdm's, around a run's iterator.

    Its index cannot be moved on, since a generator that is running cannot give more.
    """
    running = set()
    frame = sys._getframe(1)
    while frame is not None:
        if frame.f_code.co_flags & inspect.CO_GENERATOR:
            running.add(id(frame))
        frame = frame.f_back
    return bool(running) and any(
        _goes_over(each, running) for each in gc.get_objects() if type(each) is enumerate
    )


def _goes_over(around: Any, frames: set[int]) -> bool:
    inner = around.__reduce__()[1][0]
    return isinstance(inner, GeneratorType) and id(inner.gi_frame) in frames


def is_at_break() -> bool:
    """Whether the script is at a `break`: while an iterator is closed, that its loop is left by one, not by an error or `return`.

    False also where that cannot be told: within a `with`, or without the source.
    """
    frame = next(script_frames(), None)
    if frame is None:
        return False
    at = next(
        (each.positions for each in dis.get_instructions(frame.f_code) if each.offset == frame.f_lasti), None
    )
    if at is None or at.lineno is None or at.col_offset is None:
        return False
    line = linecache.getline(frame.f_code.co_filename, at.lineno, frame.f_globals)
    return re.match(rb"break\b", line.encode()[at.col_offset :]) is not None
