"""Holdfast's additions to the rule, each at a default that keeps the plain contract."""

from __future__ import annotations

import signal
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

from ..errors import UsageError
from ..records import CheckpointRecord
from . import _keep, _values
from ._keep import Direction, Keep, KeepBest, KeepEvery, KeepLast

Durability = Literal["full", "process"]
OnError = Literal["raise", "warn", "retry"]
Taking = Literal["copy", "lazy"]
WhenBusy = Literal["wait", "skip"]
OneSignal = str | int | signal.Signals
"""SIGUSR1 as `signal.SIGUSR1`, "SIGUSR1", "USR1", or its number."""
OnPreemption = bool | OneSignal | list[OneSignal] | tuple[OneSignal, ...]
OnException = bool | Literal["between"]
OnSaved = Callable[[CheckpointRecord], object]
OnDivergence = Literal["stop", "rollback", "warn"] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How a rule saves, beyond when and where; `help(Checkpointing)` says what each means.

    Raises:
        UsageError: a value that has no meaning.
    """

    durability: Durability = "full"
    background: bool = True
    snapshot: Taking = "copy"
    snapshot_check: bool = False
    when_busy: WhenBusy = "wait"
    exclude: tuple[str, ...] = ()
    on_error: OnError = "raise"
    share_with: tuple[Path, ...] = ()
    every_seconds: float | None = None
    max_overhead: float | None = None
    mtbf_s: float | None = None
    save_on_exception: OnException = False
    save_on_preemption: tuple[str, ...] = ()
    preemption_deadline_s: float | None = None
    preemption_exit_code: int = 75
    on_saved: OnSaved | None = None
    keep: Keep | None = None
    keep_best: int | None = None
    monitor: str | None = None
    direction: Direction = "min"
    keep_every: str | None = None
    max_bytes: int | None = None
    thin_after: int | None = None
    on_divergence: OnDivergence = None
    max_rollbacks: int = 3
    may_be_infinite: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        _values.one_of("durability", self.durability, ("full", "process"))
        _values.flag("background", self.background)
        _values.one_of("snapshot", self.snapshot, ("copy", "lazy"))
        _values.flag("snapshot_check", self.snapshot_check)
        _values.one_of("when_busy", self.when_busy, ("wait", "skip"))
        object.__setattr__(self, "exclude", _values.patterns("exclude", self.exclude))
        _values.one_of("on_error", self.on_error, ("raise", "warn", "retry"))
        object.__setattr__(self, "share_with", _values.directory_paths("share_with", self.share_with))
        for name in ("every_seconds", "max_overhead", "mtbf_s", "preemption_deadline_s"):
            object.__setattr__(self, name, _values.positive_number(name, getattr(self, name)))
        if self.max_overhead is not None and self.max_overhead >= 1:
            raise UsageError(f"max_overhead is a share of the time, such as 0.01, not {self.max_overhead!r}.")
        if not isinstance(self.save_on_exception, bool) and self.save_on_exception != "between":
            raise UsageError(
                f"save_on_exception must be True, False or 'between', not {self.save_on_exception!r}."
            )
        signals = _values.signal_names("save_on_preemption", self.save_on_preemption)
        object.__setattr__(self, "save_on_preemption", signals)
        _values.exit_code("preemption_exit_code", self.preemption_exit_code)
        if self.on_saved is not None and not callable(self.on_saved):
            raise UsageError(f"on_saved is called with each record, and {self.on_saved!r} cannot be called.")
        if self.on_divergence is not None:
            _values.one_of("on_divergence", self.on_divergence, ("stop", "rollback", "warn"))
        _values.positive_integer("max_rollbacks", self.max_rollbacks)
        object.__setattr__(self, "may_be_infinite", _values.patterns("may_be_infinite", self.may_be_infinite))
        self._check_keeping()

    @property
    def signals(self) -> tuple[signal.Signals, ...]:
        """Those of `save_on_preemption`."""
        return tuple(signal.Signals[name] for name in self.save_on_preemption)

    def _check_keeping(self) -> None:
        if self.keep is not None:
            object.__setattr__(self, "keep", _keep.from_value(self.keep))
            if self.keep_best is not None or self.keep_every is not None:
                raise UsageError("keep= says it all: leave out keep_best and keep_every, or keep.")
        _values.one_of("direction", self.direction, ("min", "max"))
        if self.keep_best is None and self.direction != "min":
            raise UsageError("direction says which are best: pass keep_best=, too.")
        if self.keep_best is None and self.on_divergence is None and self.monitor is not None:
            raise UsageError(
                "monitor names the metric of keep_best= or on_divergence=: pass one of these, too."
            )
        if self.keep_best is not None:
            if self.monitor is None:
                raise UsageError(
                    "keep_best needs monitor= (--monitor on the command line), the name of the metric, such as 'val_loss'."
                )
            KeepBest(self.keep_best, self.monitor, self.direction)
        if self.keep_every is not None:
            KeepEvery(self.keep_every)
        if self.max_bytes is not None:
            object.__setattr__(self, "max_bytes", _values.num_bytes("max_bytes", self.max_bytes))
        if self.thin_after is not None:
            number = _values.positive_integer("thin_after", self.thin_after)
            object.__setattr__(self, "thin_after", number)

    @property
    def judges(self) -> bool:
        """Whether more than an age decides what is kept, so that records have to be looked at."""
        return any(
            value is not None for value in (self.keep, self.keep_best, self.keep_every, self.max_bytes)
        )

    def keeping(self, max_to_keep: int | None) -> Keep | None:
        """What to keep, the shorthands and `max_to_keep` joined; None: everything."""
        if self.keep is not None:
            return self.keep
        parts: list[Keep] = [] if max_to_keep is None else [KeepLast(max_to_keep)]
        if self.keep_best is not None and self.monitor is not None:
            parts.append(KeepBest(self.keep_best, self.monitor, self.direction))
        if self.keep_every is not None:
            parts.append(KeepEvery(self.keep_every))
        if len(parts) > 1:
            return _keep.KeepAny(tuple(parts))
        return parts[0] if parts else None

    def get_config(self) -> dict[str, Any]:
        """What is not at its default, as plain data; `on_saved`, which is none, is left out."""
        return {
            field.name: _plain(value)
            for field in fields(self)
            if (value := getattr(self, field.name)) != field.default and not callable(value)
        }


OPTION_NAMES = tuple(field.name for field in fields(Options))


def _plain(value: Any) -> Any:
    match value:
        case tuple():
            return [_plain(each) for each in value]
        case Path():
            return str(value)
        case Keep():
            return _keep.as_plain(value)
        case _:
            return value
