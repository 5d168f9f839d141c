"""Readings of clocks: what a script measures with is no state of its run, and must not come back in another process."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final

import numpy as np

_WALL: Final = time.time
_OTHERS: Final[tuple[Callable[[], float], ...]] = (
    time.monotonic,
    time.perf_counter,
    time.process_time,
    time.thread_time,
)
_WALL_NS: Final = time.time_ns
_OTHERS_NS: Final[tuple[Callable[[], int], ...]] = (
    time.monotonic_ns,
    time.perf_counter_ns,
    time.process_time_ns,
    time.thread_time_ns,
)
_WORDS: Final = frozenset(
    [
        "began",
        "begin",
        "clock",
        "last",
        "mark",
        "now",
        "prev",
        "previous",
        "since",
        "stamp",
        "start",
        "started",
        "tic",
        "tick",
        "time",
        "timestamp",
        "toc",
        "ts",
    ]
)
_UNITS: Final = frozenset({"s", "ns", "sec", "seconds"})


class Clocks:
    """What the clocks showed when the loop began.

    A value is a reading only if it lies between then and now. Seconds since 1970 are told by that alone. The other clocks
    count from anywhere, so that a sum or a simulated time may lie there too: they also need the digits of a clock, and
    a name of time. Whatever is in doubt is state, and saved.
    """

    def __init__(self) -> None:
        self._began: dict[Callable[[], float], float] = {}

    def begin(self) -> None:
        """The loop begins; a second time changes nothing."""
        if not self._began:
            self._began = {clock: clock() for clock in (_WALL, *_OTHERS, _WALL_NS, *_OTHERS_NS)}

    def has_shown(self, key: str, value: Any) -> bool:
        """Whether the value of this variable is a reading of a clock since the loop began."""
        if not self._began:
            return False
        if isinstance(value, datetime):
            zones = [value] if value.tzinfo is not None else [value, value.replace(tzinfo=UTC)]
            return any(self._is_between(_WALL, each.timestamp()) for each in zones)
        if type(value) is float:
            if self._is_between(_WALL, value):
                return True
            return _is_of_time(key) and _has_digits(value) and self._is_any(_OTHERS, value)
        if type(value) is int:
            if self._is_between(_WALL_NS, value):
                return True
            return _is_of_time(key) and self._is_any(_OTHERS_NS, value)
        return False

    def _is_any(self, clocks: tuple[Callable[[], float], ...], value: float) -> bool:
        return any(self._is_between(each, value) for each in clocks)

    def _is_between(self, clock: Callable[[], float], value: float) -> bool:
        return self._began[clock] <= value <= clock()


def _is_of_time(key: str) -> bool:
    """Whether the last word of a name is one of time: `t0`, `start_time`, `tic`; not `start_lr`, `known`."""
    name = key.rpartition(".")[2]
    if re.fullmatch(r"_*t\d+", name):
        return True
    words = re.findall(r"[A-Z]?[a-z]+|[A-Z]+", name)
    if len(words) > 1 and words[-1].lower() in _UNITS:
        words.pop()
    return bool(words) and words[-1].lower() in _WORDS


def _has_digits(value: float) -> bool:
    """Whether it can come from a clock that counts nanoseconds, and neither from arithmetic in float32 nor from round steps."""
    return round(value, 9) == value != round(value, 6) and float(np.float32(value)) != value
