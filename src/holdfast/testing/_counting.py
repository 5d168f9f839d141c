"""A disk that counts: a measure of what a save costs that does not depend on the machine's load."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence

from ..storage import Storage
from ._tapped import Operation, Result, TappedDisk


class CountingDisk(TappedDisk):
    """Performs everything; `done` counts operations by kind, `written_bytes` the bytes written to files."""

    def __init__(self, disk: Storage) -> None:
        super().__init__(disk)
        self.done: Counter[str] = Counter()
        self.written_bytes = 0

    def around(self, operation: Operation, do: Callable[[], Result]) -> Result:
        self.done[operation.kind] += 1
        self.written_bytes += len(operation.data)
        return do()

    def parts(self, data: Sequence[memoryview]) -> Iterator[list[memoryview]]:
        yield [*data]  # as it comes
