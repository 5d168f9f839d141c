"""A training that ends by an exception in a batch of its own."""

from __future__ import annotations

from collections.abc import Callable
from unittest.mock import Mock


class Crash(Exception):
    """Ends a run from within, as a defect of the script would."""


def beats(crash_at: int | None) -> Callable[[], None]:
    """To be called in each batch: raises `Crash` in that of this number, counted from 1; never for None."""
    count = counter()

    def beat() -> None:
        if count() == crash_at:
            raise Crash

    return beat


def counter() -> Callable[[], int]:
    """Gives 1, 2, 3 in this life of a training, whatever comes back: a run does not look into mocks."""
    called = Mock()

    def count() -> int:
        called()
        return called.call_count

    return count
