"""What is said of a variable: what is left out by its name or its value, and the sentence for what cannot be saved."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from fnmatch import fnmatchcase
from types import GeneratorType
from typing import Any, Final

from ..errors import UsageError
from ._kinds import is_data, is_iterator

OF_ANOTHER_MODULE: Final = (
    "it is a global of another module. Let an object of the script hold it, or hand it over"
)


def check_patterns(patterns: Iterable[str]) -> list[str]:
    """The patterns of variables to be left to the script.

    Raises:
        UsageError: one is not a name.
    """
    found = list(patterns)
    for pattern in found:
        if not isinstance(pattern, str) or not pattern:
            raise UsageError(f'ignore takes names of variables, such as "t0" or "timing_*", not {pattern!r}.')
    return found


FORGETS: Final = (
    "may give another order than it would have: its own state, which is saved, need not hold all that decides it. Let run.batches() "
    "go over it"
)


def is_left_to_script(key: str, patterns: Sequence[str]) -> bool:
    """Whether one of the patterns of `Run.ignore` means this key, or something that it is below."""
    parts = key.split(".")
    above = [".".join(parts[: end + 1]) for end in range(len(parts))]
    return any(fnmatchcase(each, pattern) for each in above for pattern in patterns)


def sentence(key: str, value: Any, why: str = "") -> str:
    """What cannot be saved, and what to do."""
    kind = type(value)
    shown = (
        kind.__name__ if kind.__module__ in ("builtins", "__main__") else f"{kind.__module__}.{kind.__name__}"
    )
    if why:
        return f"{key} ({shown}) has changed and cannot be saved: {why}"
    if isinstance(value, GeneratorType) or is_iterator(value):
        return (
            f"{key} ({shown}) is an iterator, and its place cannot be saved: a resume starts it from its beginning. "
            f"Let run.batches() go over the data, or make it a class that has state_dict and load_state_dict"
        )
    if is_data(value):
        return f"{key} has changed and is not saved: variables='watch'"
    return (
        f"{key} ({shown}) has changed and cannot be saved. Hand over an object that has state_dict and "
        f"load_state_dict, or register an adapter for it; run.ignore({key!r}) if it decides nothing"
    )


def say_held(key: str, value: Any, why: str = "") -> str:
    """The same of what a framework holds or calls."""
    name = f"{key} ({type(value).__name__})"
    if why:
        return f"{name} has changed and cannot be saved: {why}"
    if is_iterator(value):
        return (
            f"{name} is an iterator, and its place cannot be saved: a resume starts it from its beginning. "
            f"Make it a class that has state_dict and load_state_dict, or let the framework's own loader go over the data"
        )
    if is_data(value):
        return f"{key} has changed and is not saved: variables='watch', or there are several processes"
    return (
        f"{name} has changed and cannot be saved: give its class state_dict and load_state_dict, or let an object that "
        f"the framework saves hold it; ignore({key!r}), or variables='off', if it decides nothing"
    )


def numbered(name: str, taken: Collection[str]) -> str:
    """The name, or the next numbered one that is not taken yet."""
    number, found = 1, name
    while found in taken:
        found, number = f"{name} {number}", number + 1
    return found
