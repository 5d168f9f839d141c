"""How often to save, by time: from what a run has measured so far. Pure functions: clock and facts come in.

`every_seconds` and `mtbf_s` ask for saves, `max_overhead` also forbids them: of the intervals that they give
the longest holds. A save whose cost nobody knows yet is the first thing that `max_overhead` and `mtbf_s` ask for.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt
from typing import Protocol


class Wishes(Protocol):
    """What a rule says of time; see `Checkpointing`."""

    @property
    def every_seconds(self) -> float | None: ...

    @property
    def max_overhead(self) -> float | None: ...

    @property
    def mtbf_s(self) -> float | None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Spent:
    """What a run knows of its time at a hook, earlier processes of the same run included.

    Attributes:
        elapsed_s: seconds of training so far.
        last_s: `elapsed_s` at the last save; 0 if there was none.
        cost_s: seconds for which the next save may block training, judged by those before; None if there was none.
        blocked_s: seconds for which all saves so far have blocked training.
        is_busy: whether the save before is still being written: another one would have to wait for it.
    """

    elapsed_s: float
    last_s: float = 0.0
    cost_s: float | None = None
    blocked_s: float = 0.0
    is_busy: bool = False


@dataclass(frozen=True, slots=True)
class Interval:
    """Seconds from one save to the next, and in words why so many."""

    seconds: float
    why: str

    def __str__(self) -> str:
        return f"every {self.seconds:.3g} s: {self.why}"


def is_timed(wishes: Wishes) -> bool:
    """Whether the rule says anything of time."""
    return not (wishes.every_seconds is None and wishes.max_overhead is None and wishes.mtbf_s is None)


def interval(wishes: Wishes, cost_s: float | None) -> Interval | None:
    """The interval in force when a save costs `cost_s` seconds of training; None if time decides nothing."""
    asked: list[Interval] = []
    if wishes.every_seconds is not None:
        asked.append(Interval(wishes.every_seconds, "as every_seconds says"))
    if wishes.mtbf_s is not None:
        asked.append(_by_failures(wishes.mtbf_s, cost_s))
    if wishes.max_overhead is not None:
        asked.append(_by_overhead(wishes.max_overhead, cost_s))
    return max(asked, key=lambda each: each.seconds, default=None)


def is_affordable(wishes: Wishes, spent: Spent) -> bool:
    """Whether one more save keeps the share of blocked time below `max_overhead`, as far as can be told."""
    if wishes.max_overhead is None or spent.cost_s is None:
        return True
    return spent.blocked_s + spent.cost_s <= wishes.max_overhead * spent.elapsed_s


def timed_reason(wishes: Wishes, spent: Spent) -> str | None:
    """Why to save now, because of the time that has passed; None if not now.

    Not while the save before is being written: that one would have to be waited for.
    """
    now = interval(wishes, spent.cost_s)
    waited_s = spent.elapsed_s - spent.last_s
    if now is None or spent.is_busy or waited_s < now.seconds or not is_affordable(wishes, spent):
        return None
    return f"{waited_s:.3g} s since the last save ({now})"


def estimate(before_s: float | None, cost_s: float) -> float:
    """What the next save may cost when the last did cost `cost_s`: half of the weight is the last one's."""
    return cost_s if before_s is None else (before_s + cost_s) / 2


def daly_interval_s(cost_s: float, mtbf_s: float) -> float:
    """Seconds of training between saves that lose the least time to saves and failures together.

    Args:
        cost_s: seconds for which a save blocks training.
        mtbf_s: mean time between failures of the whole job, in seconds; > 0.

    Source: J. T. Daly, Future Generation Computer Systems 22(3), 2006, eq. 37: a higher order of Young's
    sqrt(2 · cost · mtbf) (CACM 17(9), 1974). For a cost of twice the mtbf or more it is the mtbf.
    """
    if cost_s >= 2 * mtbf_s:
        return mtbf_s
    half = cost_s / (2 * mtbf_s)
    return sqrt(2 * cost_s * mtbf_s) * (1 + sqrt(half) / 3 + half / 9) - cost_s


def _by_failures(mtbf_s: float, cost_s: float | None) -> Interval:
    if cost_s is None:
        return Interval(0.0, "the first save shows what one costs")
    why = f"the least loss (Young and Daly) for {cost_s:.2g} s a save and a failure every {mtbf_s:.3g} s"
    return Interval(daly_interval_s(cost_s, mtbf_s), why)


def _by_overhead(share: float, cost_s: float | None) -> Interval:
    if cost_s is None:
        return Interval(0.0, "the first save shows what one costs")
    return Interval(cost_s / share, f"{cost_s:.2g} s a save is to be {100 * share:.3g} % of the time at most")
