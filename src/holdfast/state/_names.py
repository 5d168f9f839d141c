"""Shared by capture and restore: the names of parameters, and work that waits for them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


class Names:
    """State paths of live objects that others refer to: an optimizer names its parameters by them."""

    def __init__(self) -> None:
        self._paths: dict[int, tuple[Any, str]] = {}  # the object is kept, so that its id stays its own

    def add(self, value: Any, path: str) -> None:
        """Record that `value` is at `path`; of a tied one the first name counts."""
        self._paths.setdefault(id(value), (value, path))

    def of(self, value: Any) -> str | None:
        found = self._paths.get(id(value))
        return found[1] if found else None


class Later:
    """Work put off until every object has been met, whatever their order in the user's dict."""

    def __init__(self) -> None:
        self._waiting: list[Callable[[], None]] = []

    def add(self, work: Callable[[], None]) -> None:
        self._waiting.append(work)

    def run(self) -> None:
        while self._waiting:
            self._waiting.pop(0)()
