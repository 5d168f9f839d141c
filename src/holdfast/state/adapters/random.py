"""Random generators of Python and NumPy, by a closed table; a live one is set in place."""

from __future__ import annotations

import random
from typing import Any

import numpy as np

from ...records import Node, Object
from .._fit import Fit, Make
from .._kinds import bare_name
from .._walk import Walk
from .protocols import Stated

_BIT_GENERATORS = {
    kind.__name__: kind
    for kind in (np.random.MT19937, np.random.PCG64, np.random.PCG64DXSM, np.random.Philox, np.random.SFC64)
}


class _PythonRandom(Stated):
    """`random.Random`: 624 words and a position, and the second of a pair of normal draws."""

    name = "random.Random"
    same_class = False

    def claims(self, kind: type) -> bool:
        return kind is random.Random

    def get(self, value: random.Random) -> dict[str, Any]:
        version, words, gauss_next = value.getstate()
        return {"version": version, "words": np.array(words, np.uint32), "gauss_next": gauss_next}

    def put(self, live: random.Random, state: dict[str, Any]) -> None:
        live.setstate((state["version"], tuple(map(int, state["words"])), state["gauss_next"]))

    def fresh(self, state: Any, taken: Object) -> random.Random:
        self.put(made := random.Random(), state)
        return made


class _NumpyRandom(Stated):
    """`Generator`, `RandomState` and bare bit generators; the algorithm must be the same."""

    name = "numpy.random"

    def claims(self, kind: type) -> bool:
        return issubclass(kind, np.random.Generator | np.random.RandomState | np.random.BitGenerator)

    def capture(self, value: Any, walk: Walk, path: str) -> Node:
        algorithm = self.get(value)["bit_generator"]
        if algorithm not in _BIT_GENERATORS:
            walk.refuse(path, f"generator of algorithm {algorithm}")
        return super().capture(value, walk, path)

    def plan_state(self, state: Any, node: Node, fit: Fit, path: str) -> Make:
        saved, here = node.get("bit_generator") if isinstance(node, dict) else None, state["bit_generator"]
        if saved != here:
            return fit.misfit(state, path, f"{saved} was saved, the live generator is {here}")
        return fit.into(state, node, path)

    def fresh(self, state: Any, taken: Object) -> Any:
        made = bits = _BIT_GENERATORS[state["bit_generator"]]()
        if (owner := bare_name(taken.type)) in ("Generator", "RandomState"):
            made = getattr(np.random, owner)(bits)
        self.put(made, state)
        return made

    def get(self, value: Any) -> dict[str, Any]:
        if isinstance(value, np.random.RandomState):
            return dict(value.get_state(legacy=False))
        bits = value.bit_generator if isinstance(value, np.random.Generator) else value
        return dict(bits.state)

    def put(self, live: Any, state: dict[str, Any]) -> None:
        _check_position(state)
        if isinstance(live, np.random.RandomState):
            live.set_state(state)
        else:
            bits = live.bit_generator if isinstance(live, np.random.Generator) else live
            bits.state = state


def _check_position(state: dict[str, Any]) -> None:
    """NumPy takes the place of the next word in its buffer unseen, and would read beyond it."""
    places = {"MT19937": (state["state"].get("pos"), 624), "Philox": (state.get("buffer_pos"), 4)}
    place, end = places.get(state["bit_generator"], (0, 0))
    if not 0 <= place <= end:
        raise ValueError(f"the next word would be {place} of {end}")


ADAPTERS = (_PythonRandom(), _NumpyRandom())
