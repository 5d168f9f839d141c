"""Arguments of one topic in one small frozen object: given as such, by its short spelling, or as plain data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any, TypeVar

from ..errors import UsageError

Group = TypeVar("Group")


def group(kind: type[Group], name: str, value: Any, example: str) -> Group:
    """`value` if it is of this kind, or the one of which it is the plain data.

    Raises:
        UsageError: it is neither.
    """
    if isinstance(value, kind):
        return value
    if isinstance(value, Mapping):
        try:
            return kind(**value)
        except TypeError as err:
            raise UsageError(f"{name}: {err}") from err
    raise UsageError(f"{name} must be such as {example}, not {value!r}.")


def as_plain(group: Any) -> dict[str, Any]:
    """Its values that are not at their default, as plain data; those without a default always."""
    return {
        field.name: [str(each) for each in value] if isinstance(value, tuple) else value
        for field in fields(group)
        if (value := getattr(group, field.name)) != field.default
    }


def settle(group: Any, **values: Any) -> None:
    """Put values into a frozen group, from its `__post_init__`."""
    for name, value in values.items():
        object.__setattr__(group, name, value)
