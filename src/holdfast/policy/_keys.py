"""Keys under which a ledger knows its checkpoints: an epoch as an integer, anything else as a string."""

from __future__ import annotations

import re
from operator import index
from typing import TypeAlias

from ..errors import UsageError

Key: TypeAlias = int | str

_DIGITS = re.compile("([0-9]+)")


def check_key(key: object) -> Key:
    """`key` as a plain int or str; an integer of another type (NumPy's) becomes an int.

    Raises:
        UsageError: it is neither; a bool is not an integer here, because `True` would be epoch 1.
    """
    if isinstance(key, str):
        return str(key)
    if not isinstance(key, bool):
        try:
            return index(key)  # type: ignore[arg-type]
        except TypeError:
            pass
    raise UsageError(f"a checkpoint's key is an integer or a string, not {key!r}.")


def natural_order(key: Key) -> tuple[object, ...]:
    """Sorts keys as people do: integers by value, then strings, with numbers inside them by value too.

    `epoch2_batch9` comes before `epoch2_batch10`. Different keys never tie.
    """
    if isinstance(key, int):
        return 0, key
    # A split by a group gives text at even places and digits at odd ones, so like is compared to like.
    # Digits stay text, compared by length and then value: int() refuses very long ones.
    parts = tuple(
        (len(part.lstrip("0")), part.lstrip("0")) if place % 2 else part
        for place, part in enumerate(_DIGITS.split(key))
    )
    return 1, parts, key
