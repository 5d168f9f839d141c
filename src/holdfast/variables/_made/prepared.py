"""Objects that the code before an inner loop makes in each turn of the outer one: it runs again before a resume is in that loop."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, final

from .structure import is_stateful


@final
class Prepared:
    """Those of this turn, by id; an object that was there in the turn before is none."""

    def __init__(self) -> None:
        self._now: set[int] = set()
        self._known: dict[int, Any] = {}  # kept alive, so that ids stay their own

    def __contains__(self, key: object) -> bool:
        return key in self._now

    def begin(self, values: Iterable[Any]) -> None:
        """An inner loop begins, and these objects are there."""
        there = {id(each): each for each in values if is_stateful(each)}
        self._now = there.keys() - self._known.keys()
        self._known = there

    def know(self, values: Iterable[Any]) -> None:
        """A resume has made these."""
        self._known |= {id(each): each for each in values}

    def end(self) -> None:
        """The inner loop is over."""
        self._now = set()
