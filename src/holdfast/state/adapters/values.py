"""Small immutable values that a constructor of a closed table rebuilds: `range`, `slice`, `bytearray`, `array`, `Decimal`, `Fraction`, `UUID`."""

from __future__ import annotations

from array import array
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from typing import Any
from uuid import UUID

from ...records import Node, Object
from .._fit import Fit, Make
from .._kinds import type_name
from .._walk import Walk


class Value:
    """An adapter for one type: `take` gives plain data from a value, `make` the value from those."""

    is_value = True

    def __init__(self, kind: type, take: Callable[[Any], Any], make: Callable[[Any], Any]) -> None:
        self.name = type_name(kind)
        self._kind, self._take, self._make = kind, take, make

    def claims(self, kind: type) -> bool:
        return kind is self._kind

    def capture(self, value: Any, walk: Walk, path: str) -> Node:
        return Object(self.name, self.name, walk.node(self._take(value), path))

    def plan(self, live: Any, node: Node, fit: Fit, path: str) -> Make:
        return fit.replace(live, node, path)

    def fresh(self, state: Any, taken: Object) -> Any:
        return self._make(state)


def _bytearray(data: Any) -> bytearray:
    if type(data) is not bytes:  # a number would be taken as its length
        raise TypeError("a bytearray must be saved as bytes")
    return bytearray(data)


def _array(parts: Any) -> array[Any]:
    code, data = parts
    if type(code) is not str or type(data) is not bytes:
        raise TypeError("an array must be saved as its type code and bytes")
    return array(code, data)


def _from_text(kind: Callable[[str], Any]) -> Callable[[Any], Any]:
    def make(text: Any) -> Any:
        if type(text) is not str:
            raise TypeError(f"a {kind} must be saved as text")
        return kind(text)

    return make


def _bounds(value: Any) -> list[Any]:
    return [value.start, value.stop, value.step]


ADAPTERS = (
    Value(bytearray, bytes, _bytearray),
    Value(array, lambda value: [value.typecode, value.tobytes()], _array),
    Value(range, _bounds, lambda bounds: range(*bounds)),
    Value(Decimal, str, _from_text(Decimal)),
    Value(Fraction, str, _from_text(Fraction)),
    Value(UUID, str, _from_text(UUID)),
    Value(slice, _bounds, lambda bounds: slice(*bounds)),
)
