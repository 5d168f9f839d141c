"""The conditions of when to save: `Every`, `Seconds`, `Overhead`, `MeanTimeBetweenFailures`, joined by `|` and `&`.

Frozen data and pure choices: the clock and what a run has measured come in as `Spent`. A save whose cost is not known
yet is the first thing that `Overhead` and `MeanTimeBetweenFailures` ask for.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass, fields
from math import sqrt
from typing import final

from ..errors import UsageError
from . import _values

COME_AGAIN = ("epoch_start", "epoch_end", "batch_start", "batch_end")
"""Hooks that a phase has more than once; a save that `Overhead` holds back there can be made up for."""
TIMED = ("batch_end", "epoch_end")
"""Hooks at which time alone can be a reason to save."""


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

    @property
    def waited_s(self) -> float:
        """Seconds since the last save."""
        return self.elapsed_s - self.last_s


@dataclass(frozen=True, slots=True)
class Interval:
    """Seconds from one save to the next, and in words why so many."""

    seconds: float
    why: str

    def __str__(self) -> str:
        return f"every {self.seconds:.3g} s: {self.why}"


class When(ABC):
    """Says when to save. `a | b` saves when either holds, `a & b` when both do; `&` binds tighter."""

    __slots__ = ()

    @property
    @abstractmethod
    def terms(self) -> tuple[tuple[Condition, ...], ...]:
        """It holds if any of these terms does, and a term holds if all of its conditions do."""

    def __bool__(self) -> bool:
        raise UsageError(
            "conditions are joined by | (any of) and & (all of), such as Every('epoch_end') | Seconds(600), not by `or` and "
            "`and`."
        )

    def __or__(self, other: When) -> When:
        return joined([*self.terms, *other.terms]) if isinstance(other, When) else NotImplemented

    def __and__(self, other: When) -> When:
        if not isinstance(other, When):
            return NotImplemented
        return joined([(*mine, *its) for mine in self.terms for its in other.terms])


class Condition(When):
    """One condition."""

    __slots__ = ()

    @property
    def terms(self) -> tuple[tuple[Condition, ...], ...]:
        return ((self,),)

    def __repr__(self) -> str:
        values = (getattr(self, field.name) for field in fields(self))  # type: ignore[arg-type]
        return f"{type(self).__name__}({', '.join(repr(value) for value in values)})"


class Timed(Condition):
    """A condition that looks at the clock. Alone it is asked at ends of batches and epochs only."""

    __slots__ = ()

    @abstractmethod
    def interval(self, cost_s: float | None) -> Interval:
        """The interval that it asks for when a save costs `cost_s` seconds of training; None: not known yet."""

    def asks(self, spent: Spent) -> bool:
        """Whether it is time to save."""
        return spent.waited_s >= self.interval(spent.cost_s).seconds

    def allows(self, hook: str, spent: Spent) -> bool:
        """Whether it lets `Every` save at this hook."""
        return self.asks(spent)


@final
@dataclass(frozen=True, slots=True, repr=False)
class Every(Condition):
    """Every `n`-th time that `hook` comes, counted from the beginning of the phase or run.

    Short: `when="batch_end"` is `Every("batch_end")`.

    Args:
        hook: such as `"epoch_end"`; which ones there are depends on where the policy is attached.
        n: an integer >= 1.

    Raises:
        UsageError: `hook` is no name, or `n` no integer >= 1.
    """

    hook: str
    n: int = 1

    def __post_init__(self) -> None:
        if not isinstance(self.hook, str) or not self.hook:
            raise UsageError(f"Every needs the name of a hook, such as 'epoch_end', not {self.hook!r}.")
        object.__setattr__(self, "n", _values.positive_integer("Every's n", self.n))

    def __str__(self) -> str:
        return self.hook if self.n == 1 else f"{self.hook}, every {_ordinal(self.n)}"


@final
@dataclass(frozen=True, slots=True, repr=False)
class Seconds(Timed):
    """So many seconds since the last save of the run, whatever requested that one.

    Short: `when="10 min"` is `Seconds(600)`; units are `s`, `min`, `h` and `d`.

    Raises:
        UsageError: not a positive number.
    """

    seconds: float

    def __post_init__(self) -> None:
        _values.positive_number("Seconds", self.seconds)

    def interval(self, cost_s: float | None) -> Interval:
        return Interval(self.seconds, repr(self))

    def asks(self, spent: Spent) -> bool:  # at every hook, so without the words
        return spent.waited_s >= self.seconds


@final
@dataclass(frozen=True, slots=True, repr=False)
class Overhead(Timed):
    """As often as saving keeps training waiting for less than this share of all the time.

    The first save shows what one costs; a costly save is paid for by a longer interval after it. In `&` it holds back
    saves at hooks that come again (epochs, batches), and no others. Short: `when="1%"` is `Overhead(0.01)`.

    Raises:
        UsageError: not a number between 0 and 1.
    """

    share: float

    def __post_init__(self) -> None:
        _values.positive_number("Overhead", self.share)
        if self.share >= 1:
            raise UsageError(f"Overhead is a share of the time, such as 0.01, not {self.share!r}.")

    def interval(self, cost_s: float | None) -> Interval:
        if cost_s is None:
            return _FIRST
        why = f"{cost_s:.2g} s a save is to be {100 * self.share:.3g} % of the time at most"
        return Interval(cost_s / self.share, why)

    def asks(self, spent: Spent) -> bool:
        return self._affords(spent) and spent.waited_s >= self.interval(spent.cost_s).seconds

    def allows(self, hook: str, spent: Spent) -> bool:
        return hook not in COME_AGAIN or self._affords(spent)

    def _affords(self, spent: Spent) -> bool:
        """Whether one more save keeps the share of blocked time below this one, as far as can be told."""
        return spent.cost_s is None or spent.blocked_s + spent.cost_s <= self.share * spent.elapsed_s


@final
@dataclass(frozen=True, slots=True, repr=False)
class MeanTimeBetweenFailures(Timed):
    """At the interval that loses the least time to saves and failures together, for a job that fails so often.

    Args:
        seconds: mean time between failures of the entire job (all its machines), in seconds.

    Source: `daly_interval_s`, with the cost of a save as measured.

    Raises:
        UsageError: not a positive number.
    """

    seconds: float

    def __post_init__(self) -> None:
        _values.positive_number("MeanTimeBetweenFailures", self.seconds)

    def interval(self, cost_s: float | None) -> Interval:
        if cost_s is None:
            return _FIRST
        why = f"the least loss (Young and Daly) for {cost_s:.2g} s a save and a failure every {self.seconds:.3g} s"
        return Interval(daly_interval_s(cost_s, self.seconds), why)


@final
@dataclass(frozen=True, slots=True, repr=False)
class Combined(When):
    """Conditions joined by `|` and `&`."""

    joined: tuple[tuple[Condition, ...], ...]

    @property
    def terms(self) -> tuple[tuple[Condition, ...], ...]:
        return self.joined

    def __repr__(self) -> str:
        return " | ".join(" & ".join(map(repr, term)) for term in self.joined)


def joined(terms: Iterable[tuple[Condition, ...]]) -> When:
    """The conditions of which any of these terms holds, each term and condition once.

    Raises:
        UsageError: a term names two hooks.
    """
    each_once = tuple(dict.fromkeys(tuple(dict.fromkeys(term)) for term in terms))
    for term in each_once:
        hooks = list(dict.fromkeys(each.hook for each in term if isinstance(each, Every)))
        if len(hooks) > 1:
            raise UsageError(
                f"{hooks[0]} and {hooks[1]} never come at once, so `&` of them would save nothing: join them by `|`."
            )
    return each_once[0][0] if len(each_once) == len(each_once[0]) == 1 else Combined(each_once)


def daly_interval_s(cost_s: float, mtbf_s: float) -> float:
    """Seconds of training between saves that lose the least time to saves and failures together.

    Args:
        cost_s: seconds for which a save blocks training.
        mtbf_s: mean time between failures of the entire job, in seconds; > 0.

    Source: J. T. Daly, Future Generation Computer Systems 22(3), 2006, eq. 37: a higher order of Young's
    sqrt(2 · cost · mtbf) (CACM 17(9), 1974). For a cost of twice the mtbf or more it is the mtbf.
    """
    if cost_s >= 2 * mtbf_s:
        return mtbf_s
    half = cost_s / (2 * mtbf_s)
    return sqrt(2 * cost_s * mtbf_s) * (1 + sqrt(half) / 3 + half / 9) - cost_s


_FIRST = Interval(0.0, "the first save shows what one costs")


def _ordinal(n: int) -> str:
    if n % 100 in (11, 12, 13):
        return f"{n}th"
    return f"{n}{ {1: 'st', 2: 'nd', 3: 'rd'}.get(n % 10, 'th') }"
