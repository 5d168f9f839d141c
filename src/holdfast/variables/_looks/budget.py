"""How much of a run's time may go into looking at what is large."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager


class Budget:
    """Counts the time that is spent, from the moment on when it is made.

    Attributes:
        last_s: what was counted last, in seconds.
    """

    def __init__(self) -> None:
        self._began_s = time.perf_counter()
        self._spent_s = self.last_s = 0.0

    def is_used_up(self, share: float) -> bool:
        """Whether more than this share of the time so far has been spent."""
        return self._spent_s > share * (time.perf_counter() - self._began_s)

    @contextmanager
    def spending(self) -> Iterator[None]:
        """Count what is done inside."""
        began_s = time.perf_counter()
        yield
        self.last_s = time.perf_counter() - began_s
        self._spent_s += self.last_s
