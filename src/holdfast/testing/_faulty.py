"""A disk that refuses: one operation, or all from one on, with an errno of your choice."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TypeVar

from ..storage import Storage
from ._tapped import Operation, TappedDisk

Result = TypeVar("Result")


class FaultyDisk(TappedDisk):
    """Fails at operation number `at` (from 0; reads count) with `error`.

    `lasting`: and at every later one. `lying`: the operation is done all the same, as when the answer of
    a file server is lost. `kinds`: only these count. `failed` is the operation that did.
    """

    def __init__(
        self,
        disk: Storage,
        at: int,
        error: int,
        *,
        lasting: bool = False,
        lying: bool = False,
        kinds: frozenset[str] | None = None,
    ) -> None:
        super().__init__(disk)
        self._left, self._error, self._lasting, self._lying = at, error, lasting, lying
        self._kinds = kinds
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
        raise OSError(self._error, os.strerror(self._error), operation.path)
