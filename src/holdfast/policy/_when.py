"""When to save, by conditions: whether one holds now and why, how often they will, and their short spellings."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from typing import Any, Final, NamedTuple

from ..errors import UsageError
from . import _values
from ._conditions import (
    COME_AGAIN,
    TIMED,
    Condition,
    Every,
    Interval,
    MeanTimeBetweenFailures,
    Overhead,
    Seconds,
    Spent,
    Timed,
    When,
    joined,
)

_MANY: Final = 1 << 30
_SHARE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*%\s*")


def any_of(conditions: Iterable[Condition]) -> When:
    """The conditions joined by `|`; there is at least one."""
    return joined((each,) for each in conditions)


class Term(NamedTuple):
    """Conditions that hold together, by kind: a run asks at every hook."""

    named: tuple[Every, ...]
    timed: tuple[Timed, ...]
    text: str


def terms_of(when: When) -> tuple[Term, ...]:
    """The terms, as `first_reason` takes them."""
    return tuple(
        Term(
            tuple(each for each in term if isinstance(each, Every)),
            tuple(each for each in term if isinstance(each, Timed)),
            " and ".join(map(str, term)),
        )
        for term in when.terms
    )


def reason(when: When, hook: str, count: int, spent: Spent | None) -> str | None:
    """Why to save at the `count`-th `hook`, in words: the first term that holds; None if none does.

    Without `spent` only hooks count: time then neither asks for a save nor holds one back.
    """
    return first_reason(terms_of(when), hook, count, spent)


def first_reason(terms: Sequence[Term], hook: str, count: int, spent: Spent | None) -> str | None:
    """As `reason`, of conditions whose terms are known."""
    for named, timed, text in terms:
        if named:
            if named[0].hook != hook:
                continue
            is_met = all(each.hook == hook and count % each.n == 0 for each in named)
            if is_met and (spent is None or all(each.allows(hook, spent) for each in timed)):
                return text
        # Not while the save before is being written: that one would have to be waited for.
        elif spent is not None and hook in TIMED and not spent.is_busy and all(e.asks(spent) for e in timed):
            longest = max((each.interval(spent.cost_s) for each in timed), key=_length)
            return f"{spent.waited_s:.3g} s since the last save ({longest})"
    return None


def time_says(terms: Sequence[Term], spent: Spent) -> tuple[bool, ...]:
    """Of each condition on time, whether it asks for a save, and whether it allows one at a hook that comes again."""
    timed = (each for term in terms for each in term.timed)
    return tuple(says for each in timed for says in (each.asks(spent), each.allows(COME_AGAIN[0], spent)))


def num_passed(terms: Sequence[Term], hook: str, count: int) -> int:
    """After `count` of these hooks, how many of the next ones no term names, whatever time says."""
    periods = [max((each.n for each in named if each.hook == hook), default=0) for named, _, _ in terms]
    return min((n - count % n - 1 for n in periods if n), default=_MANY)


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
    return joined(terms)


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


def _length(interval: Interval) -> float:
    return interval.seconds
