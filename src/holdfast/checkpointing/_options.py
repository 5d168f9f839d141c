"""Holdfast's additions to the rule, each at a default that keeps the plain contract."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

from . import _values

Durability = Literal["full", "process"]
OnError = Literal["raise", "warn", "retry"]
Taking = Literal["copy", "lazy"]
WhenBusy = Literal["wait", "skip"]
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
        if self.on_divergence is not None:
            _values.one_of("on_divergence", self.on_divergence, ("stop", "rollback", "warn"))
        _values.positive_integer("max_rollbacks", self.max_rollbacks)
        object.__setattr__(self, "may_be_infinite", _values.patterns("may_be_infinite", self.may_be_infinite))

    def get_config(self) -> dict[str, Any]:
        """What is not at its default, as plain data."""
        return {
            field.name: _plain(value)
            for field in fields(self)
            if (value := getattr(self, field.name)) != field.default
        }


OPTION_NAMES = tuple(field.name for field in fields(Options))


def _plain(value: Any) -> Any:
    match value:
        case tuple():
            return [_plain(each) for each in value]
        case Path():
            return str(value)
        case _:
            return value
