"""When to save: `Every`, `Seconds`, `Overhead`, `MeanTimeBetweenFailures`, joined by `|` (any of) and `&` (all of).

Frozen data and pure choices: the clock and what a run has measured come in as `Spent`. A save whose cost is not known
yet is the first thing that `Overhead` and `MeanTimeBetweenFailures` ask for.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from math import sqrt
from typing import Any, final

from ..errors import UsageError
from . import _values

COME_AGAIN = ("epoch_start", "epoch_end", "batch_start", "batch_end")
"""Hooks that a phase has more than once; a save that `Overhead` holds back there can be made up for."""
TIMED = ("batch_end", "epoch_end")
"""Hooks at which time alone can be a reason to save."""

_SHARE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*%\s*")


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

    def __or__(self, other: When) -> When:
        return _joined([*self.terms, *other.terms]) if isinstance(other, When) else NotImplemented

    def __and__(self, other: When) -> When:
        if not isinstance(other, When):
            return NotImplemented
        return _joined([(*mine, *its) for mine in self.terms for its in other.terms])


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
        return spent.waited_s >= self.interval(spent.cost_s).seconds and self._affords(spent)

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


def any_of(conditions: Iterable[Condition]) -> When:
    """The conditions joined by `|`; there is at least one."""
    return _joined((each,) for each in conditions)


def reason(when: When, hook: str, count: int, spent: Spent | None) -> str | None:
    """Why to save at the `count`-th `hook`, in words: the first term that holds; None if none does.

    Without `spent` only hooks count: time then neither asks for a save nor holds one back.
    """
    for term in when.terms:
        named = [each for each in term if isinstance(each, Every)]
        timed = [each for each in term if isinstance(each, Timed)]
        if named:
            is_met = all(each.hook == hook and count % each.n == 0 for each in named)
            if is_met and (spent is None or all(each.allows(hook, spent) for each in timed)):
                return " and ".join(map(str, term))
        # Not while the save before is being written: that one would have to be waited for.
        elif spent is not None and hook in TIMED and not spent.is_busy and all(e.asks(spent) for e in timed):
            longest = max((each.interval(spent.cost_s) for each in timed), key=_length)
            return f"{spent.waited_s:.3g} s since the last save ({longest})"
    return None


def interval(when: When, cost_s: float | None) -> Interval | None:
    """The interval at which time alone asks for saves that cost `cost_s` seconds of training; None if it never does."""
    timed = [[each for each in term if isinstance(each, Timed)] for term in when.terms]
    alone = [found for found, term in zip(timed, when.terms, strict=True) if len(found) == len(term)]
    longest = [max((each.interval(cost_s) for each in found), key=_length) for found in alone]
    return min(longest, key=_length, default=None)


def events(when: When) -> tuple[Every, ...]:
    """The conditions that name hooks, each once."""
    found = (each for term in when.terms for each in term if isinstance(each, Every))
    return tuple(dict.fromkeys(found))


def largest_overhead(when: When) -> float | None:
    """The share of the time that saving may take; None if nothing bounds it."""
    shares = [each.share for term in when.terms for each in term if isinstance(each, Overhead)]
    return max(shares, default=None)


def estimate(before_s: float | None, cost_s: float) -> float:
    """What the next save may cost when the last did cost `cost_s`: half of the weight is the last one's."""
    return cost_s if before_s is None else (before_s + cost_s) / 2


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


_KINDS = {"every": Every, "seconds": Seconds, "overhead": Overhead, "mtbf_s": MeanTimeBetweenFailures}


def as_plain(when: When) -> list[list[dict[str, Any]]]:
    """The terms as plain data, such as `[[{"every": "epoch_end", "n": 2}], [{"seconds": 600}]]`."""
    return [[_as_dict(each) for each in term] for term in when.terms]


def from_value(value: Any) -> When:
    """What is passed as `when=`: conditions, a short spelling, or what `as_plain` gave.

    Raises:
        UsageError: it is none of these.
    """
    if isinstance(value, When):
        return value
    if isinstance(value, str):
        return _from_text(value)
    try:
        terms = [tuple(_from_dict(each) for each in term) for term in value]
    except (TypeError, KeyError, AttributeError):
        terms = []
    if not terms or not all(terms):
        raise UsageError(
            f"when must be such as Every('batch_end', 100) | Seconds(600), '10 min' or '1%', not {value!r}."
        )
    return _joined(terms)


def _from_text(text: str) -> When:
    if share := _SHARE.fullmatch(text):
        return Overhead(float(share[1]) / 100)
    if (seconds := _values.duration_s(text)) is not None:
        return Seconds(seconds)
    if not text.isidentifier():
        raise UsageError(f"when must be a hook, such as 'epoch_end', '10 min' or '1%', not {text!r}.")
    return Every(text)


def _as_dict(condition: Condition) -> dict[str, Any]:
    (kind,) = (name for name, each in _KINDS.items() if type(condition) is each)
    first, *rest = fields(condition)  # type: ignore[arg-type]
    return {
        kind: getattr(condition, first.name),
        **{each.name: getattr(condition, each.name) for each in rest},
    }


def _from_dict(plain: Mapping[str, Any]) -> Condition:
    kind = next((name for name in _KINDS if name in plain), "")
    return _KINDS[kind](plain[kind], **{name: value for name, value in plain.items() if name != kind})


def _joined(terms: Iterable[tuple[Condition, ...]]) -> When:
    each_once = tuple(dict.fromkeys(tuple(dict.fromkeys(term)) for term in terms))
    for term in each_once:
        hooks = list(dict.fromkeys(each.hook for each in term if isinstance(each, Every)))
        if len(hooks) > 1:
            raise UsageError(
                f"{hooks[0]} and {hooks[1]} never come at once, so `&` of them would save nothing: join them by `|`."
            )
    return each_once[0][0] if len(each_once) == len(each_once[0]) == 1 else Combined(each_once)


_FIRST = Interval(0.0, "the first save shows what one costs")


def _length(interval: Interval) -> float:
    return interval.seconds


def _ordinal(n: int) -> str:
    if n % 100 in (11, 12, 13):
        return f"{n}th"
    return f"{n}{ {1: 'st', 2: 'nd', 3: 'rd'}.get(n % 10, 'th') }"
