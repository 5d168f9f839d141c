"""A disk that fails one operation, or all from one on, with an error of your choice."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence

from ..storage import Storage
from ._tapped import Operation, Result, TappedDisk, split


class FaultyDisk(TappedDisk):
    """Fails at operation number `at` (from 0; reads count) with `error`: an errno, or an exception.

    `lasting`: and at every later one. `lying`: the operation is performed nevertheless, as when the answer of
    a file server is lost. `short`: each write is done in two, the first of so many bytes, so that a disk that gets
    full has taken these and no more. `kinds`: only these count. `failed` is the operation that did.
    """

    def __init__(
        self,
        disk: Storage,
        at: int,
        error: int | BaseException,
        *,
        lasting: bool = False,
        lying: bool = False,
        short: int | None = None,
        kinds: frozenset[str] | None = None,
    ) -> None:
        super().__init__(disk)
        self._left, self._error, self._lasting, self._lying = at, error, lasting, lying
        self._short, self._kinds = short, kinds
        self.failed: Operation | None = None

    def around(self, operation: Operation, do: Callable[[], Result]) -> Result:
        if self._kinds is not None and operation.kind not in self._kinds:
            return do()
        fails = self._left == 0 or (self._left < 0 and self._lasting)
        self._left -= 1
        if not fails:
            return do()
        self.failed = self.failed or operation
        if self._lying or operation.kind == "close":
            do()
        if isinstance(self._error, BaseException):
            raise self._error
        raise OSError(self._error, os.strerror(self._error), operation.path)

    def parts(self, data: Sequence[memoryview]) -> Iterator[list[memoryview]]:
        yield from super().parts(data) if self._short is None else split(data, self._short)
