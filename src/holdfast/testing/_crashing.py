"""The death of the process at any operation: what was done stays, nothing more is done."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable

from ..storage import Storage
from ._tapped import Operation, Result, TappedDisk


class Crash(BaseException):
    """The process is dead; raised so that its code stops running. Only a test may catch it."""


class CrashingDisk(TappedDisk):
    """Performs `after` operations that change the disk and dies at the next, with all its locks."""

    def __init__(self, disk: Storage, after: int) -> None:
        super().__init__(disk)
        self._left = after
        self._held: list[object] = []

    def around(self, operation: Operation, do: Callable[[], Result]) -> Result:
        if operation.kind == "close":
            return do()
        if self._left == 0 and operation.changes:
            self._left = -1
            for held in self._held:
                held.release()  # type: ignore[attr-defined]
        if self._left < 0:
            raise Crash(operation)
        self._left -= operation.changes
        result = do()
        if operation.kind in ("hold", "claim") and result is not None:
            self._held.append(result)
        return result


class KillingDisk(TappedDisk):
    """Performs `after` operations that change the disk; at the next it sends this process a real signal."""

    def __init__(self, disk: Storage, after: int, number: int = signal.SIGKILL) -> None:
        super().__init__(disk)
        self._left, self._number = after, number

    def around(self, operation: Operation, do: Callable[[], Result]) -> Result:
        if operation.changes:
            if self._left == 0:
                os.kill(os.getpid(), self._number)
            self._left -= 1
        return do()
