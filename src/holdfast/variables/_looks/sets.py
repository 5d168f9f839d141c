"""Sets whose order cannot come back: their members are saved, and not in which order they came and went."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from ...set_order import is_kept
from ...state import Attributes
from .._kinds import CONTAINERS, SCALARS, values_of

_DEEPEST: Final = 6
_MOST_ITEMS: Final = 10_000
_LOSES: Final = (
    "gives its members in an order that depends on which came and went before, and only the members are saved: sort them, or keep "
    "them as the keys of a dict"
)


def loses_order(value: Any, depth: int = 0) -> bool:
    """Whether one of the sets in it gives its members in another order once it is made again."""
    if type(value) in SCALARS or depth > _DEEPEST:
        return False
    if isinstance(value, set | frozenset):
        return not is_kept(value)
    if isinstance(value, Attributes):
        return any(loses_order(each, depth + 1) for each in value.held())
    if not isinstance(value, CONTAINERS) or len(value) > _MOST_ITEMS:
        return False
    items = values_of(value)
    return not set(map(type, items)) <= SCALARS and any(loses_order(each, depth + 1) for each in items)


def loses(name: str, run: str) -> str:
    """The sentence for such a variable, or such an object."""
    return f"{name} {_LOSES}; {run}ignore({name!r}) if the order decides nothing"


def losing(objects: Mapping[str, Any], run: str) -> dict[str, str]:
    """A sentence for each of these objects of which that is true, by name."""
    return {name: loses(name, run) for name, value in objects.items() if loses_order(value)}
