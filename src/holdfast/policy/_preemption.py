"""What a run does when its machine is about to be taken away: `Preemption`."""

from __future__ import annotations

import signal
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias, final

from ..errors import UsageError
from . import _values
from ._groups import group, settle

OneSignal = str | int | signal.Signals
"""SIGUSR1 as `signal.SIGUSR1`, "SIGUSR1", "USR1", or its number."""
Signals: TypeAlias = OneSignal | list[OneSignal] | tuple[OneSignal, ...]


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Preemption:
    """When a signal comes, finish the step, save, and leave with an exit code that says "start me again".

    Args:
        signals: one signal or several, by name or number; by default SIGTERM and SIGUSR1, where there is one.
        deadline_s: seconds after the signal at which the process leaves in any case; None: no deadline.
        exit_code: what the scheduler takes for "start it again"; 75 is EX_TEMPFAIL.

    Raises:
        UsageError: a value that has no meaning, or a signal that no process can handle.
    """

    signals: Signals = tuple(each for each in ("SIGTERM", "SIGUSR1") if hasattr(signal, each))
    deadline_s: float | None = None
    exit_code: int = 75

    def __post_init__(self) -> None:
        names = _values.signal_names("signals", self.signals)
        if not names:
            raise UsageError("signals is empty: name at least one, or leave out save_on_preemption.")
        if self.deadline_s is not None:
            _values.positive_number("deadline_s", self.deadline_s)
        settle(self, signals=names)
        _values.exit_code("exit_code", self.exit_code)

    @property
    def watched(self) -> tuple[signal.Signals, ...]:
        """`signals`, as the system has them."""
        return tuple(signal.Signals[name] for name in _values.signal_names("signals", self.signals))


def from_value(value: Any) -> Preemption | None:
    """What is passed as `save_on_preemption=`: True, signals, a `Preemption`, or its plain data."""
    if value is None or isinstance(value, bool):
        return Preemption() if value else None
    if isinstance(value, Preemption | Mapping):
        return group(Preemption, "save_on_preemption", value, "True")
    return Preemption(signals=_values.signal_names("save_on_preemption", value))
