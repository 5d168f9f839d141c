"""Objects that the code before an inner loop makes in each turn of the outer one: it runs again before a resume is in that loop."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, final

from .structure import is_stateful


@final
class Prepared:
    """Those of this turn, by id, as long as its inner loop lasts; what was there when the turn began is none."""

    def __init__(self) -> None:
        self._made: set[int] = set()
        self._before: dict[int, Any] = {}  # kept alive, so that ids stay their own
        self.has_begun = False

    def __contains__(self, key: object) -> bool:
        return key in self._made

    def turn(self, values: Iterable[Any]) -> None:
        """A turn of the outer loop begins, and these objects are there."""
        self._before, self.has_begun = _stateful(values), False
        self.end()

    def begin(self, values: Iterable[Any]) -> None:
        """The inner loop begins, and these objects are there."""
        self._made, self.has_begun = _stateful(values).keys() - self._before.keys(), True

    def know(self, values: Iterable[Any]) -> None:
        """A resume has made these."""
        self._before |= {id(each): each for each in values}

    def end(self) -> None:
        """The inner loop is over."""
        self._made = set()


def _stateful(values: Iterable[Any]) -> dict[int, Any]:
    return {id(each): each for each in values if is_stateful(each)}
