"""What to do once a run is no longer finite: `Divergence`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, final

from . import _values
from ._groups import group, settle

Action = Literal["stop", "rollback", "warn"]


@final
@dataclass(frozen=True, slots=True)
class Divergence:
    """What to do once an array of the model or its optimizer, or a loss, is NaN or infinite.

    Arrays are looked at when they are saved, losses at every hook.

    Args:
        action: `"stop"` the run with a DivergenceError; `"rollback"` to the newest checkpoint that was finite, with
            new random numbers; or `"warn"`.
        max_rollbacks: how often a run may be rolled back; then it stops.
        monitor: a metric that must be finite besides those with "loss" in their name.
        may_be_infinite: glob patterns of arrays that are not finite by design, such as attention masks.

    Raises:
        UsageError: a value that has no meaning.
    """

    action: Action
    max_rollbacks: int = 3
    monitor: str | None = None
    may_be_infinite: str | list[str] | tuple[str, ...] = ()

    def __post_init__(self) -> None:
        _values.one_of("on_divergence", self.action, ("stop", "rollback", "warn"))
        _values.optional(_values.metric, "monitor", self.monitor)
        settle(
            self,
            max_rollbacks=_values.positive_integer("max_rollbacks", self.max_rollbacks),
            may_be_infinite=_values.patterns("may_be_infinite", self.may_be_infinite),
        )


def from_value(value: Any) -> Divergence | None:
    """What is passed as `on_divergence=`: a `Divergence`, its action, or its plain data."""
    if value is None:
        return None
    is_one = isinstance(value, Divergence | Mapping)
    return group(Divergence, "on_divergence", value, "'stop'") if is_one else Divergence(value)
