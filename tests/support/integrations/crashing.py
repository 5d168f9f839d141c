"""A training that ends by an exception in a batch of its own."""

from __future__ import annotations

from collections.abc import Callable


class Crash(Exception):
    """Ends a run from within, as a defect of the script would."""


def beats(crash_at: int | None) -> Callable[[], None]:
    """To be called in each batch: raises `Crash` in that of this number, counted from 1; never for None."""
    count = 0

    def beat() -> None:
        nonlocal count
        count += 1
        if count == crash_at:
            raise Crash

    return beat
