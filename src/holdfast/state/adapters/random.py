"""Random generators of Python and NumPy, by a closed table; a live one is set in place."""

from __future__ import annotations

import random
from typing import Any

import numpy as np

from ...records import Node, Object
from .._fit import Fit, Make
from .._kinds import bare_name
from .._walk import Walk, type_name

_BIT_GENERATORS = {
    kind.__name__: kind
    for kind in (np.random.MT19937, np.random.PCG64, np.random.PCG64DXSM, np.random.Philox, np.random.SFC64)
}


class _PythonRandom:
    """`random.Random`: 624 words and a position, and the second of a pair of normal draws."""

    name = "random.Random"

    def claims(self, kind: type) -> bool:
        return kind is random.Random

    def capture(self, value: random.Random, walk: Walk, path: str) -> Node:
        return Object(self.name, type_name(type(value)), walk.node(_taken(value), path))

    def plan(self, live: random.Random, node: Node, fit: Fit, path: str) -> Make:
        taken = fit.object_of(self.name, live, node, path, holds=dict)
        if taken is None:
            return fit.keep(live)
        with fit.keeping_types(exact=True):
            make = fit.into(_taken(live), taken.state, path)
        return lambda: _set(live, make())

    def fresh(self, state: Any, taken: Object) -> random.Random:
        return _set(random.Random(), state)


class _NumpyRandom:
    """`Generator`, `RandomState` and bare bit generators; the algorithm must be the same."""

    name = "numpy.random"

    def claims(self, kind: type) -> bool:
        return issubclass(kind, np.random.Generator | np.random.RandomState | np.random.BitGenerator)

    def capture(self, value: Any, walk: Walk, path: str) -> Node:
        state = _state(value)
        if state["bit_generator"] not in _BIT_GENERATORS:
            walk.refuse(path, f"generator of algorithm {state['bit_generator']}")
        return Object(self.name, type_name(type(value)), walk.node(state, path))

    def plan(self, live: Any, node: Node, fit: Fit, path: str) -> Make:
        taken = fit.object_of(self.name, live, node, path, same_class=True, holds=dict)
        if taken is None:
            return fit.keep(live)
        state = _state(live)
        if taken.state.get("bit_generator") != state["bit_generator"]:
            return fit.misfit(
                live,
                path,
                f"{taken.state.get('bit_generator')} was saved, the live generator is {state['bit_generator']}",
            )
        with fit.keeping_types(exact=True):
            make = fit.into(state, taken.state, path)

        def act() -> Any:
            _set_state(live, make())
            return live

        return act

    def fresh(self, state: Any, taken: Object) -> Any:
        bits = _BIT_GENERATORS[state["bit_generator"]]()
        owner = bare_name(taken.type)
        made = {"Generator": np.random.Generator, "RandomState": np.random.RandomState}.get(
            owner, lambda bits: bits
        )(bits)
        _set_state(made, state)
        return made


def _taken(value: random.Random) -> dict[str, Any]:
    version, words, gauss_next = value.getstate()
    return {"version": version, "words": np.array(words, np.uint32), "gauss_next": gauss_next}


def _set(value: random.Random, state: dict[str, Any]) -> random.Random:
    value.setstate((state["version"], tuple(map(int, state["words"])), state["gauss_next"]))
    return value


def _state(value: Any) -> dict[str, Any]:
    if isinstance(value, np.random.RandomState):
        return dict(value.get_state(legacy=False))
    bits = value.bit_generator if isinstance(value, np.random.Generator) else value
    return dict(bits.state)


def _set_state(value: Any, state: dict[str, Any]) -> None:
    _check_position(state)
    if isinstance(value, np.random.RandomState):
        value.set_state(state)
    else:
        bits = value.bit_generator if isinstance(value, np.random.Generator) else value
        bits.state = state


def _check_position(state: dict[str, Any]) -> None:
    """NumPy takes the place of the next word in its buffer unseen, and would read beyond it."""
    places = {"MT19937": (state["state"].get("pos"), 624), "Philox": (state.get("buffer_pos"), 4)}
    place, end = places.get(state["bit_generator"], (0, 0))
    if not 0 <= place <= end:
        raise ValueError(f"the next word would be {place} of {end}")


ADAPTERS = (_PythonRandom(), _NumpyRandom())
