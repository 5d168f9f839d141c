"""Values that people pass to `Checkpointing`, made plain or refused at once: never at the first save."""

from __future__ import annotations

import math
import os
import re
import signal
import warnings
from collections.abc import Callable, Mapping
from operator import index
from pathlib import Path
from typing import Any, TypeVar

from ..errors import UsageError
from ..storage import local_path
from ._labels import SUFFIX

Checked = TypeVar("Checked")

_UNITS = {
    "b": 1,
    **{f"{letter}b": 1000**power for power, letter in enumerate("kmgt", start=1)},
    **{f"{letter}ib": 1024**power for power, letter in enumerate("kmgt", start=1)},
}
_SECONDS = {"s": 1, "min": 60, "h": 3600, "d": 86400}
_DURATION = re.compile(r"\s*(\d+(?:\.\d+)?)\s*(s|min|h|d)\s*")
_BYTES = re.compile(r"\s*(\d+(?:\.\d+)?)\s*(b|[kmgt]i?b)?\s*", re.IGNORECASE)


def optional(check: Callable[[str, Any], Checked], name: str, value: Any) -> Checked | None:
    return None if value is None else check(name, value)


def one_of(name: str, value: Any, choices: tuple[str, ...]) -> Any:
    if value not in choices:
        expected = " or ".join(repr(choice) for choice in choices)
        raise UsageError(f"Invalid {name}: '{value}'. Expected {expected}.")
    return value


def positive_integer(name: str, value: Any) -> int:
    number = _integer(value)
    if number is None:
        raise UsageError(f"{name} must be an integer, not {value!r}.")
    if number < 1:
        raise UsageError(f"{name} must be >= 1.")
    return number


def num_bytes(name: str, value: Any) -> int:
    """A number of bytes >= 1, or text such as "20 GB" or "512 MiB"."""
    found = _BYTES.fullmatch(value) if isinstance(value, str) else None
    number = int(float(found[1]) * _UNITS[(found[2] or "b").lower()]) if found else _integer(value)
    if number is None or number < 1:
        raise UsageError(f"{name} must be bytes >= 1, or such as '20 GB' or '512 MiB', not {value!r}.")
    return number


def duration_s(text: str) -> float | None:
    """Seconds of such as "30 min" or "6h"; None if it is no duration."""
    found = _DURATION.fullmatch(text)
    return None if found is None else float(found[1]) * _SECONDS[found[2]]


def metric(name: str, value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise UsageError(f"{name} must be the name of a metric, not {value!r}.")
    return value


def flag(name: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise UsageError(f"{name} must be True or False, not {value!r}.")
    return value


def positive_number(name: str, value: Any) -> float:
    """A finite number > 0; a bool is a slip, not a number."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
        raise UsageError(f"{name} must be a positive number, not {value!r}.")
    return value


def exit_code(name: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= 255:
        raise UsageError(f"{name} must be a number from 0 to 255, not {value!r}.")
    return value


_UNCATCHABLE = {"SIGKILL", "SIGSTOP"}


def signal_names(name: str, value: Any) -> tuple[str, ...]:
    """Names such as "SIGTERM", in the given order, each once."""
    several = value if isinstance(value, list | tuple) else [value]
    return tuple(dict.fromkeys(_signal_name(name, one) for one in several))


def _signal_name(name: str, value: Any) -> str:
    try:
        if isinstance(value, str):
            found = signal.Signals[value if value.startswith("SIG") else f"SIG{value}"]
        else:
            found = signal.Signals(_integer(value) or 0)
    except (KeyError, ValueError) as err:
        raise UsageError(f"{name} is True or signals such as 'SIGTERM', not {value!r}.") from err
    if found.name in _UNCATCHABLE:
        raise UsageError(f"{name}: {found.name} cannot be handled; choose another signal.")
    return found.name


def hooks(value: Any) -> tuple[str, ...]:
    """Hook names in the given order, each once; those of a set sorted, because it has no order."""
    if isinstance(value, str):
        value = [value]
    elif isinstance(value, set | frozenset):
        value = sorted(value, key=str)
    elif not isinstance(value, list | tuple):
        raise UsageError(f"save_on must be a hook's name or a list of them, not {value!r}.")
    if not value:
        raise UsageError("save_on is empty: name at least one hook, such as 'epoch_end'.")
    for hook in value:
        if not isinstance(hook, str) or not hook:
            raise UsageError(f"save_on holds {hook!r}, which is not the name of a hook.")
    return tuple(dict.fromkeys(map(str, value)))


def directory_path(name: str, value: Any) -> Path:
    # "" would silently mean the working directory; it usually is an unset variable.
    return Path(local_path(name, value))


def directory_paths(name: str, value: Any) -> tuple[Path, ...]:
    if value is None:
        return ()
    several = value if isinstance(value, list | tuple) else [value]
    return tuple(directory_path(name, one) for one in several)


def patterns(name: str, value: Any) -> tuple[str, ...]:
    """Glob patterns, one or several."""
    several = [value] if isinstance(value, str) else value
    if not isinstance(several, list | tuple) or not all(isinstance(each, str) and each for each in several):
        raise UsageError(
            f"{name} must be a pattern such as 'model_graph/encoder/*' or a list of them, not {value!r}."
        )
    return tuple(dict.fromkeys(several))


def hook_counts(value: Any) -> dict[str, int]:
    if not isinstance(value, Mapping):
        raise UsageError(f"counters are a dict of hooks and counts, not {value!r}.")
    counts = {hook: _integer(count) for hook, count in value.items()}
    for hook, count in counts.items():
        if not isinstance(hook, str) or count is None or count < 0:
            raise UsageError(
                f"counters hold {hook!r}: {value[hook]!r}; a count is an integer >= 0 of a hook."
            )
    return {hook: count for hook, count in counts.items() if count is not None}


def warn_if_used(directory: Path | None, *, stacklevel: int) -> None:
    """Warn that `directory` holds checkpoints already; they are counted by name and not opened."""
    if directory is None:
        return
    try:
        with os.scandir(directory) as entries:
            n = sum(entry.name.endswith(SUFFIX) for entry in entries)
    except (OSError, ValueError):  # not there yet, or not readable: saving will say so
        return
    if n:
        warnings.warn(
            f"Checkpoint directory '{directory}' already contains {n} checkpoint file(s). Existing files will "
            "only be overwritten if an exact name match occurs and overwrite=True.",
            UserWarning,
            stacklevel=stacklevel + 1,
        )


def _integer(value: Any) -> int | None:
    """`value` as an int (NumPy's integers too), or None; a bool is a slip, not a number."""
    if isinstance(value, bool):
        return None
    try:
        return int(index(value))
    except TypeError:
        return None
