"""Objects that a framework holds, and whose attributes it does not save."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any


def by_class(objects: Iterable[Any]) -> dict[str, Any]:
    """Objects by the names of their classes; of several of one class the later ones are numbered."""
    found: dict[str, Any] = {}
    for each in objects:
        name = type(each).__name__
        count = sum(type(other) is type(each) for other in found.values())
        found[f"{name} {count}" if count else name] = each
    return found
