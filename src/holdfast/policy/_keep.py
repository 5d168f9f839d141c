"""What to keep: `KeepLast`, `KeepBest`, `KeepEvery`, any of them joined by `|`, within `MaxBytes`. Pure choices.

A choice depends on the records of the checkpoints that are there and on nothing else: no clock, no disk,
no memory. So a run that was killed and resumes decides as it would have done without the kill.
"""

from __future__ import annotations

import math
import re
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, final

from ..errors import UsageError
from ..records import CheckpointRecord
from . import _values

Direction = Literal["min", "max"]

_COUNT = re.compile(r"\s*(\d+(?:\.\d+)?)\s*(epoch|step)s?\s*")


class Keep(ABC):
    """Says which checkpoints should stay. `a | b` keeps what either keeps, `a & MaxBytes(…)` as far as it fits."""

    __slots__ = ()

    @abstractmethod
    def choose(self, saved: Sequence[CheckpointRecord]) -> dict[str, str]:
        """Of these records, oldest first: the ids of those that should stay, each with the reason in words."""

    def __bool__(self) -> bool:
        raise UsageError(
            "what to keep is joined by | and & MaxBytes(…), such as KeepLast(3) | KeepEvery('6h'), not by `or` and `and`."
        )

    def __or__(self, other: Keep) -> Keep:
        if not isinstance(other, Keep):
            return NotImplemented
        if budget_of(self) is not None or budget_of(other) is not None:
            raise UsageError(
                "MaxBytes bounds all that is kept: write (… | …) & MaxBytes(…), with parentheses."
            )
        return KeepAny((*parts_of(self), *parts_of(other)))

    def __and__(self, other: Keep) -> Keep:
        if not isinstance(other, MaxBytes):
            return NotImplemented
        if budget_of(self) is not None:
            raise UsageError("there is a MaxBytes already: one budget bounds all that is kept.")
        return KeepWithin(self, other)


@final
@dataclass(frozen=True, slots=True)
class KeepLast(Keep):
    """Keep the newest `n`.

    Raises:
        UsageError: `n` is no integer >= 1.
    """

    n: int

    def __post_init__(self) -> None:
        object.__setattr__(self, "n", _values.positive_integer("KeepLast's n", self.n))

    def choose(self, saved: Sequence[CheckpointRecord]) -> dict[str, str]:
        return {record.id: f"one of the last {self.n}" for record in saved[-self.n :]}


@final
@dataclass(frozen=True, slots=True)
class KeepBest(Keep):
    """Keep the `k` whose metric `monitor` is lowest, or highest with `direction="max"`; of equals the older.

    Never best: a checkpoint without the metric, one where it is NaN or infinite, and one whose state is not finite.

    Raises:
        UsageError: `k` is no integer >= 1, `monitor` no name, or the direction is unknown.
    """

    k: int
    monitor: str
    direction: Direction = "min"

    def __post_init__(self) -> None:
        object.__setattr__(self, "k", _values.positive_integer("KeepBest's k", self.k))
        _values.metric("monitor", self.monitor)
        _values.one_of("direction", self.direction, ("min", "max"))

    def choose(self, saved: Sequence[CheckpointRecord]) -> dict[str, str]:
        sign = 1 if self.direction == "min" else -1
        rated = [
            (sign * value, record)
            for record in saved
            if (value := record.metrics.get(self.monitor)) is not None
            and math.isfinite(value)
            and not is_nonfinite(record)
        ]
        rated.sort(key=lambda pair: pair[0])  # stable: of equals the older one is first
        which = "best" if self.k == 1 else f"one of the {self.k} best"
        return {
            record.id: f"{which}: {self.monitor} {record.metrics[self.monitor]:.6g}"
            for _, record in rated[: self.k]
        }


@final
@dataclass(frozen=True, slots=True)
class KeepEvery(Keep):
    """Keep the first checkpoint after every `"5 epochs"`, `"1000 steps"` or duration (`"6h"`, `"30 min"`, `"2 d"`).

    Epochs and steps are finished ones; nothing is kept for it before the first interval is over. Durations
    are of training time where the records have it (`details["elapsed_s"]`), else slices of the clock (UTC).
    Within an interval, a finite checkpoint is preferred to a non-finite one.

    Raises:
        UsageError: it says something else, or zero.
    """

    interval: str

    def __post_init__(self) -> None:
        _parse_interval(self.interval)

    @property
    def unit(self) -> Literal["epochs", "steps", "seconds"]:
        return _parse_interval(self.interval)[1]

    def choose(self, saved: Sequence[CheckpointRecord]) -> dict[str, str]:
        length, unit = _parse_interval(self.interval)
        first: dict[tuple[object, int], CheckpointRecord] = {}
        for record in saved:
            if place := _place(record, length, unit):
                before = first.setdefault(place, record)
                if is_nonfinite(before) and not is_nonfinite(record):
                    first[place] = record
        return {record.id: f"first after every {self.interval}" for record in first.values()}


@final
@dataclass(frozen=True, slots=True)
class KeepAny(Keep):
    """Keep what any of `parts` keeps; made by `|`."""

    parts: tuple[Keep, ...]

    def choose(self, saved: Sequence[CheckpointRecord]) -> dict[str, str]:
        reasons: dict[str, list[str]] = {}
        for part in self.parts:
            for id, why in part.choose(saved).items():
                reasons.setdefault(id, []).append(why)
        return {id: "; ".join(whys) for id, whys in reasons.items()}


@final
@dataclass(frozen=True, slots=True)
class MaxBytes(Keep):
    """Keep no more than so many bytes on the disk, files that checkpoints share counted once.

    Beyond it the oldest go first, those among the best last. `(a | b) & MaxBytes("20 GB")` bounds what `a | b` keeps;
    alone it bounds everything. What always stays (see `docs/keeping.md`) may exceed it.

    Args:
        size: a number of bytes, or such as `"20 GB"` or `"512 MiB"`.

    Raises:
        UsageError: it is neither.
    """

    size: int | str

    def __post_init__(self) -> None:
        object.__setattr__(self, "size", _values.num_bytes("MaxBytes", self.size))

    def choose(self, saved: Sequence[CheckpointRecord]) -> dict[str, str]:
        return {record.id: "everything is kept" for record in saved}


@final
@dataclass(frozen=True, slots=True)
class KeepWithin(Keep):
    """Keep what `keep` keeps as far as the budget allows; made by `&`."""

    keep: Keep
    budget: MaxBytes

    def choose(self, saved: Sequence[CheckpointRecord]) -> dict[str, str]:
        return self.keep.choose(saved)


def parts_of(keep: Keep | None) -> tuple[Keep, ...]:
    """The single choices that `|` has joined, without a budget."""
    match keep:
        case None | MaxBytes():
            return ()
        case KeepWithin(bounded, _):
            return parts_of(bounded)
        case KeepAny(parts):
            return parts
        case _:
            return (keep,)


def budget_of(keep: Keep | None) -> int | None:
    """The bytes that all together may take; None if nothing bounds them."""
    budget = keep.budget if isinstance(keep, KeepWithin) else keep
    return _values.num_bytes("MaxBytes", budget.size) if isinstance(budget, MaxBytes) else None


def joined(parts: Sequence[Keep], budget: MaxBytes | None = None) -> Keep | None:
    """These choices, any of which keeps, within the budget; None if there is neither."""
    keep = parts[0] if len(parts) == 1 else KeepAny(tuple(parts)) if parts else None
    return keep if budget is None else budget if keep is None else keep & budget


def is_nonfinite(record: CheckpointRecord) -> bool:
    """Whether NaN or infinity was found in the state when it was saved (`details["health"]`)."""
    health = record.details.get("health")
    number = health.get("sick") if isinstance(health, Mapping) else None
    return isinstance(number, int | float) and number > 0


def as_plain(keep: Keep) -> list[dict[str, Any]]:
    """A choice as plain data, for a policy's config."""
    budget = budget_of(keep)
    return [*map(_as_dict, parts_of(keep)), *([] if budget is None else [{"max_bytes": budget}])]


def from_value(value: Any) -> Keep:
    """What is passed as `keep=`: a choice, a number of the newest, or what `as_plain` gave.

    Raises:
        UsageError: it is none of these.
    """
    if isinstance(value, Keep):
        return value
    if type(value) is int:
        return KeepLast(value)
    try:
        budgets = [MaxBytes(each["max_bytes"]) for each in value if "max_bytes" in each]
        made = joined([_from_dict(each) for each in value if "max_bytes" not in each], *budgets)
    except (TypeError, KeyError, AttributeError):
        made = None
    if made is None:
        raise UsageError(
            f"keep must be such as KeepLast(3) | KeepBest(2, 'val_loss'), or a number, not {value!r}."
        )
    return made


def _as_dict(part: Keep) -> dict[str, Any]:
    match part:
        case KeepLast(n):
            return {"last": n}
        case KeepBest(k, monitor, direction):
            return {"best": k, "monitor": monitor, "direction": direction}
        case KeepEvery(interval):
            return {"every": interval}
    raise UsageError(f"{part!r} is a choice of your own, and has no form as plain data.")


def _from_dict(plain: Mapping[str, Any]) -> Keep:
    if "last" in plain:
        return KeepLast(plain["last"])
    if "best" in plain:
        return KeepBest(plain["best"], plain["monitor"], plain.get("direction", "min"))
    return KeepEvery(plain["every"])


def _parse_interval(text: Any) -> tuple[float, Literal["epochs", "steps", "seconds"]]:
    if isinstance(text, str):
        if seconds := _values.duration_s(text):
            return seconds, "seconds"
        found = _COUNT.fullmatch(text)
        if found and (number := float(found[1])) >= 1 and number.is_integer():
            return number, "epochs" if found[2] == "epoch" else "steps"
    raise UsageError(
        f"KeepEvery needs such as '5 epochs', '1000 steps', '30 min', '6h' or '2 d', not {text!r}."
    )


def _place(record: CheckpointRecord, length: float, unit: str) -> tuple[object, int] | None:
    """Which interval of which count a checkpoint is in; None if it is in none."""
    moment = record.moment
    if unit == "seconds":
        elapsed_s = record.details.get("elapsed_s")
        if not isinstance(elapsed_s, int | float):
            return _slice_of_clock(record.created, length)
        passed, count = float(elapsed_s), "trained"
    elif unit == "steps":
        passed, count = float(moment.step), "steps"
    elif moment.epoch is None:
        return None
    else:
        # Within an epoch, that one is not finished.
        passed, count = moment.epoch + (moment.hook == "epoch_end"), moment.phase
    if not math.isfinite(passed) or passed < length:
        return None
    return count, int(passed // length)


def _slice_of_clock(created: str, length_s: float) -> tuple[object, int] | None:
    try:
        return "clock", int(datetime.fromisoformat(created).timestamp() // length_s)
    except ValueError:
        return None
