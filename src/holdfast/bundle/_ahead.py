"""Work that threads do a bounded distance ahead of whoever uses its results."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

Result = TypeVar("Result")


def in_order(begun: Iterable[Callable[[], Result]], most: int) -> Iterator[Result]:
    """The results of jobs that begin as they are taken from `begun`; `most` of them at a time, that in use included."""
    waiting: deque[Callable[[], Result]] = deque()
    for result in begun:
        waiting.append(result)
        if len(waiting) >= most:
            yield waiting.popleft()()
    while waiting:
        yield waiting.popleft()()
