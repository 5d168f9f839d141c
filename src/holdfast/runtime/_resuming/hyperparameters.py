"""Hyperparameters at a resume: the checkpoint's win over the script's, and the user is told which.

What the script says now is compared with what it said when the run began, not with what is in the
checkpoint: schedules move learning rates, betas and momentum, and that is no change of the script's.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from ...errors import UsageError

Options = Sequence[Mapping[str, Any]]
"""Of each group of each optimizer, in order."""
PLACES: Final = ["**/param_groups", "**/base_lrs"]
"""Where a state has what `settle` changes, as patterns of paths."""


def is_optimizer(value: Any) -> bool:
    """Whether this looks like an optimizer. A dict does not, though that of a script may answer to every name."""
    return not isinstance(value, Mapping) and hasattr(value, "param_groups")


def is_scheduler(value: Any) -> bool:
    return not isinstance(value, Mapping) and hasattr(value, "base_lrs")


def options_of(optimizers: Sequence[Any]) -> list[dict[str, Any]]:
    """The numeric options of torch's optimizers (whatever has `param_groups`) as they are now."""
    return [
        {name: value for name, value in group.items() if isinstance(value, int | float | bool | tuple)}
        for optimizer in optimizers
        for group in optimizer.param_groups
    ]


def check_override(override: Sequence[str], options: Options) -> None:
    """UsageError if `override` names an option that no optimizer has."""
    known = {name for group in options for name in group}
    unknown = [name for name in override if name not in known]
    if unknown:
        there = ", ".join(sorted(known)) or "none: there is no torch optimizer in the state"
        raise UsageError(f"override={unknown[0]!r} is not an option of an optimizer here; there is {there}.")


def settle(
    optimizers: Sequence[Any],
    schedulers: Sequence[Any],
    *,
    then: Options,
    script: Options,
    override: Sequence[str],
) -> tuple[list[dict[str, Any]], list[str], list[str]]:
    """Keep the restored options, but for those named in `override`; warn of all others that the script has changed.

    `then`: the script's options when the run began; `script`: those it has set now, before the restore.
    Returns the options that the run follows from now on, and sentences for those that were overridden and those that were kept.
    """
    kept, changed = [], []
    groups = [group for optimizer in optimizers for group in optimizer.param_groups]
    for index, (group, before, now) in enumerate(zip(groups, then, script, strict=True)):
        for name in before.keys() & now.keys():
            if before[name] == now[name] or (name == "lr" and "initial_lr" in now):
                continue
            option = "lr" if name == "initial_lr" else name
            if option in override:
                _override(schedulers, group, index, name, before[name], now[name])
                changed.append(f"the optimizer's {option} was {before[name]} and is {now[name]} (override)")
            else:
                kept.append((option, before[name], now[name]))
    said = list(dict.fromkeys(said_of(*each) for each in kept))
    if kept:
        names = ", ".join(dict.fromkeys(f'"{option}"' for option, *_ in kept))
        warnings.warn(
            f"the checkpoint's hyperparameters are used: {'; '.join(said)}. "
            f"Pass resume=Resume(override=({names},)) to keep the script's.",
            UserWarning,
            stacklevel=_outside(),
        )
    taken = {*override, "initial_lr"} if "lr" in override else {*override}
    followed = [
        {**before, **{name: value for name, value in now.items() if name in taken}}
        for before, now in zip(then, script, strict=True)
    ]
    return followed, list(dict.fromkeys(changed)), said


def said_of(option: str, before: Any, now: Any) -> str:
    """The sentence for a hyperparameter that was kept."""
    return f"{option} is {before} (the script says {now})"


def _override(
    schedulers: Sequence[Any], group: dict[str, Any], index: int, name: str, before: Any, now: Any
) -> None:
    if name in ("lr", "initial_lr") and before:
        # Keep its relative position in the schedule.
        group["lr"] = now if group["lr"] == before else group["lr"] * (now / before)
    if name == "initial_lr":
        for scheduler in _with_inner(schedulers):
            base = getattr(scheduler, "base_lrs", None)
            if base is not None and index < len(base):
                base[index] = now
    if name != "lr":
        group[name] = now


def _with_inner(schedulers: Sequence[Any]) -> Iterator[Any]:
    """Schedules and those inside them."""
    for scheduler in schedulers:
        yield scheduler
        yield from _with_inner(getattr(scheduler, "_schedulers", ()))


def _outside() -> int:
    """The `stacklevel` with which a warning given by our caller points at the first line outside of this library."""
    frame, level = sys._getframe(1), 1
    while frame.f_back is not None and frame.f_globals.get("__name__", "").startswith("holdfast."):
        frame, level = frame.f_back, level + 1
    return level
