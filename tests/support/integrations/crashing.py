"""A training that ends by an exception in a batch of its own."""

from __future__ import annotations

import tempfile
from collections.abc import Callable


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
    """Gives 1, 2, 3 in this life of a training, whatever comes back: what is only written to a file decides nothing."""
    stream = tempfile.TemporaryFile("wb")

    def count() -> int:
        stream.write(b".")
        return stream.tell()

    return count
