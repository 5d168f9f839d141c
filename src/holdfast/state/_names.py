"""Shared by capture and restore: the names of parameters, and work that waits for them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


class Names:
    """State paths of live objects that others refer to: an optimizer names its parameters by them."""

    def __init__(self) -> None:
        self.by_id: dict[int, tuple[Any, str]] = {}  # the object is kept, so that its id stays its own
        self.repeated: list[str] = []  # the first names of those that were met again

    def add(self, value: Any, path: str) -> None:
        """Record that `value` is at `path`; of a tied one the first name counts."""
        entry = value, path
        first = self.by_id.setdefault(id(value), entry)
        if first is not entry:
            self.repeated.append(first[1])

    def of(self, value: Any) -> str | None:
        found = self.by_id.get(id(value))
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
