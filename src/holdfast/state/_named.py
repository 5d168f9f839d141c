"""The one form in which a state is passed everywhere: a mapping from names to objects."""

from __future__ import annotations

from collections.abc import Collection, Mapping, MutableMapping
from typing import Any

from ..errors import UsageError

_EXAMPLE = '{"model": model, "optimizer": optimizer}'


def named(state: Any, *, reserved: Collection[str] = ()) -> MutableMapping[str, Any]:
    """The objects of `state` by name: the mapping itself where it can change, so that new values reach its owner.

    Raises:
        UsageError: it is not a mapping from names to objects, is empty, or has a name in `reserved`.
    """
    if not isinstance(state, Mapping):
        raise UsageError(
            f"state must be a mapping from names to objects, such as {_EXAMPLE}, not {_described(state)}."
        )
    for name in state:
        if not isinstance(name, str) or not name:
            raise UsageError(
                f"state must have a name for each object, such as {_EXAMPLE}; {name!r} cannot be one."
            )
    if not state:
        raise UsageError(f"state is empty: name the objects, such as {_EXAMPLE}.")
    taken = [name for name in state if name in reserved]
    if taken:
        names = ", ".join(map(repr, reserved))
        raise UsageError(
            f"state cannot have an object called {taken[0]!r}: the names {names} are reserved. Choose another name."
        )
    return state if isinstance(state, MutableMapping) else dict(state)


def _described(value: Any) -> str:
    if value is None or isinstance(value, bool | int | float | str):
        return repr(value)
    kind = type(value)
    return kind.__name__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__name__}"
