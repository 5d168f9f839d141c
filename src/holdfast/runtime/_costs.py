"""How long a run has trained, what saving has cost it so far, and what it would lose now.

A process that resumes knows all of it from the record of the checkpoint that it resumes from.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from ..policy import Spent, When, estimate, interval, largest_overhead
from ..records import CheckpointRecord

logger = logging.getLogger("holdfast")

_COPIES_SHARE = 0.5  # of `Overhead`, for copies of steps: else they would leave nothing for saves
_MUCH = 0.1  # of the time, for copies that may never be needed
_TOLD_AFTER_S = 60.0


@dataclass(slots=True)
class Stopwatch:
    """The times of one save, in seconds of `time.perf_counter`.

    Attributes:
        began_s: when training stopped for it.
        elapsed_s: how long the run had trained by then.
        waited_s: how long it then waited for the save before.
        returned_s: when training continued; None: it waits until all is written.
        also_blocked_s: for how long training was kept waiting after that.
    """

    began_s: float
    elapsed_s: float
    waited_s: float = 0.0
    returned_s: float | None = None
    also_blocked_s: float = 0.0

    def blocked_s(self) -> float:
        until_s = time.perf_counter() if self.returned_s is None else self.returned_s
        return until_s - self.began_s + self.also_blocked_s

    def background_s(self) -> float:
        return 0.0 if self.returned_s is None else time.perf_counter() - self.returned_s


class Pace:
    """The time of one run. `clock`: seconds, from anywhere."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._zero_s = self._born_s = clock()
        self._stopped_s: float | None = None
        self._cost_s: float | None = None
        self._blocked_s = 0.0
        self._begun_s = 0.0
        self._committed_s, self._committed_step = 0.0, 0
        self._step = 0
        # Copies of steps, in this process.
        self._copies_s = 0.0
        self._last_copy_s: float | None = None
        self._has_told = False

    @property
    def elapsed_s(self) -> float:
        """Seconds of training of this run so far, in this process and in those before."""
        return self._clock() - self._zero_s if self._stopped_s is None else self._stopped_s

    @property
    def unsaved_s(self) -> float:
        """Seconds of training that are in no committed checkpoint."""
        return max(0.0, self.elapsed_s - self._committed_s)

    @property
    def unsaved_steps(self) -> int:
        """Updates that are in no committed checkpoint."""
        return max(0, self._step - self._committed_step)

    def at(self, step: int) -> None:
        """The run has finished so many updates."""
        self._step = step

    def spent(self, *, is_busy: bool) -> Spent:
        """What is known of the time now."""
        return Spent(
            elapsed_s=self.elapsed_s,
            last_s=self._begun_s,
            cost_s=self._cost_s,
            blocked_s=self._blocked_s,
            is_busy=is_busy,
        )

    # --- a save -----------------------------------------------------------------------------------

    def begin(self) -> Stopwatch:
        """A save begins, for which training stands still from now on."""
        elapsed_s = self.elapsed_s
        self._begun_s = elapsed_s
        return Stopwatch(time.perf_counter(), elapsed_s)

    def finish(self, record: CheckpointRecord, watch: Stopwatch, when: When | None) -> CheckpointRecord:
        """The record with what it has cost, and what the next process has to know; about to be written."""
        blocked_s = watch.blocked_s()
        cost_s = self._cost_with(blocked_s, watch)
        details: dict[str, Any] = {
            "elapsed_s": watch.elapsed_s,
            "background_s": watch.background_s(),
            "waited_s": watch.waited_s,
            "cost_s": cost_s,
            "blocked_so_far_s": self._blocked_s + blocked_s,
        }
        if when is not None and (cadence := interval(when, cost_s)) is not None:
            details["cadence"] = str(cadence)
        return replace(record, blocked_s=blocked_s, details={**record.details, **details})

    def committed(self, record: CheckpointRecord) -> None:
        """This record of `finish` is written."""
        details = record.details
        self._committed_s, self._committed_step = _seconds(details, "elapsed_s"), record.moment.step
        self._cost_s, self._blocked_s = details["cost_s"], details["blocked_so_far_s"]

    def kept(self, step: int, watch: Stopwatch) -> None:
        """It was a copy in memory, and is there."""
        self._cost_s = estimate(self._cost_s, watch.blocked_s())
        self._blocked_s += watch.blocked_s()
        self._committed_s, self._committed_step = watch.elapsed_s, step

    def affords_copy(self, when: When) -> bool:
        """Whether one more copy of a step leaves saves at least half of what `Overhead` allows."""
        share = largest_overhead(when)
        if share is None or self._last_copy_s is None:
            return True
        here_s = self._clock() - self._born_s
        return self._copies_s + self._last_copy_s <= _COPIES_SHARE * share * here_s

    def copied(self, blocked_s: float) -> None:
        """Training stood still for so long for a copy of a step; said aloud, once, if they come to much."""
        self._blocked_s += blocked_s
        self._copies_s, self._last_copy_s = self._copies_s + blocked_s, blocked_s
        here_s = self._clock() - self._born_s
        if self._has_told or here_s < _TOLD_AFTER_S or self._copies_s < _MUCH * here_s:
            return
        self._has_told = True
        logger.warning(
            "the copies of each step for save_on_exception=True have taken %.0f %% of the time: Overhead(…) in when= "
            'takes fewer, and "between" none (then a failure inside a step loses what is since the last checkpoint)',
            100 * self._copies_s / here_s,
        )

    def failed(self, watch: Stopwatch) -> None:
        """It cost what it cost all the same; the next attempt comes after as long as the next save would."""
        blocked_s = watch.blocked_s()
        self._cost_s = self._cost_with(blocked_s, watch)
        self._blocked_s += blocked_s

    def _cost_with(self, blocked_s: float, watch: Stopwatch) -> float:
        """What a save costs, this one included; waiting for the one before is no part of it."""
        return estimate(self._cost_s, max(0.0, blocked_s - watch.waited_s))

    def give_up(self, watch: Stopwatch) -> None:
        """It was no save: the next is as due as this one was."""
        self._blocked_s += watch.blocked_s()
        self._begun_s = self._committed_s

    # --- processes --------------------------------------------------------------------------------

    def resume(self, record: CheckpointRecord) -> None:
        """The run resumes from this checkpoint: what was trained after it is lost, and its time is as well."""
        details = record.details
        self._begun_s = self._committed_s = _seconds(details, "elapsed_s")
        self._step = self._committed_step = record.moment.step
        self._blocked_s = _seconds(details, "blocked_so_far_s")
        self._cost_s = _seconds(details, "cost_s") if "cost_s" in details else None
        self._zero_s = self._clock() - self._committed_s - record.blocked_s

    def stop(self) -> None:
        """The run has ended, and its time with it."""
        self._stopped_s = self.elapsed_s


def _seconds(details: Any, name: str) -> float:
    """A number of a record that anybody may have written; 0 if it is none."""
    value = details.get(name)
    return float(value) if isinstance(value, int | float) and 0 <= value < float("inf") else 0.0


@dataclass(slots=True)
class Accounting:
    """What saving has cost a run so far, in this process.

    Attributes:
        saves: checkpoints committed.
        failures: saves that failed and were only warned of.
        dropped: saves given up because a lazy snapshot was torn.
        skipped: saves not begun because the one before was still being written.
        blocked_s: seconds for which training stood still: waiting for the save before, and copying.
        background_s: seconds from there to the writing of the record, beside training.
        commit_s: seconds that writing and committing took, beside training if in the background.
        bytes_captured, bytes_written, bytes_shared: of the states, to the disk, and not needed to be.
    """

    saves: int = 0
    failures: int = 0
    dropped: int = 0
    skipped: int = 0
    blocked_s: float = 0.0
    commit_s: float = 0.0
    bytes_captured: int = 0
    bytes_written: int = 0
    bytes_shared: int = 0
    background_s: float = 0.0
    pace: Pace | None = field(default=None, repr=False, compare=False)

    @property
    def unsaved_s(self) -> float:
        """Seconds of training that would be lost now: those since the last committed checkpoint."""
        return 0.0 if self.pace is None else self.pace.unsaved_s

    @property
    def unsaved_steps(self) -> int:
        """Updates that would be lost now."""
        return 0 if self.pace is None else self.pace.unsaved_steps

    def add(self, record: CheckpointRecord, commit_s: float) -> None:
        self.saves += 1
        self.blocked_s += record.blocked_s
        self.background_s += record.details.get("background_s", 0.0)
        self.commit_s += commit_s
        self.bytes_captured += record.bytes_captured
        self.bytes_written += record.bytes_written
        self.bytes_shared += record.bytes_shared
