"""A disk that counts: what a save costs, where a clock would only say what the machine was doing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from typing import TypeVar

from ..storage import Storage
from ._tapped import Operation, TappedDisk

Result = TypeVar("Result")


class CountingDisk(TappedDisk):
    """Does everything; `done` is how often what was done, `written_bytes` what went to files."""

    def __init__(self, disk: Storage) -> None:
        super().__init__(disk)
        self.done: Counter[str] = Counter()
        self.written_bytes = 0

    def around(self, operation: Operation, do: Callable[[], Result]) -> Result:
        self.done[operation.kind] += 1
        self.written_bytes += len(operation.data)
        return do()

    def parts(self, view: memoryview) -> Iterator[memoryview]:
        yield view  # as it comes
