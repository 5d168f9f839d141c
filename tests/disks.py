"""Disks that misbehave in one way each. They wrap a real one, and see every operation before it is done."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Watch = Callable[[str], None]
"""Is told the name of each operation before it is done; it may raise, or wait."""


class Crash(BaseException):
    """The process is gone: nothing that comes after it is done."""


class CrashAfter:
    """A watch that lets `operations` changes through and then ends the process."""

    CHANGES = frozenset(
        {"mkdir", "rename", "rmdir", "create", "write", "fill", "link", "unlink", "hold", "claim"}
    )

    def __init__(self, operations: int) -> None:
        self.left = operations
        self.is_dead = False

    def __call__(self, operation: str) -> None:
        if operation in self.CHANGES:
            self.is_dead |= self.left == 0
            self.left -= 1
        if self.is_dead:
            raise Crash


class WatchedDisk:
    """Any storage, with a watch on it; also on the directories and files that are opened through it."""

    def __init__(self, inner: Any, watch: Watch) -> None:
        self._inner, self._watch = inner, watch

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._inner, name)
        if not callable(found) or name in ("release", "close"):  # a process that ends does these too
            return found

        def watched(*args: Any, **kwargs: Any) -> Any:
            self._watch(name)
            result = found(*args, **kwargs)
            opened = name in ("open_directory", "open", "create", "hold", "claim")
            return WatchedDisk(result, self._watch) if opened and result is not None else result

        return watched

    def __enter__(self) -> WatchedDisk:
        return self

    def __exit__(self, *details: object) -> None:
        self._inner.close()
