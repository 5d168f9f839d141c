"""Random generators of Python and NumPy, by a closed table; a live one is set in place."""

from __future__ import annotations

import random
from typing import Any

import numpy as np

from ... import rng
from ...records import Node, Object
from .._fit import Fit, Make
from .._kinds import bare_name, type_name
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
        assert isinstance(node, dict)
        drawn = {key: each for key, each in node.items() if key != rng.CHILDREN}
        make = fit.into({key: each for key, each in state.items() if key != rng.CHILDREN}, drawn, path)
        if rng.CHILDREN not in node:
            return make
        make_seed = fit.fresh(node[rng.CHILDREN])
        return lambda: {**make(), rng.CHILDREN: make_seed()}

    def fresh(self, state: Any, taken: Object) -> Any:
        made = bits = _BIT_GENERATORS[state["bit_generator"]]()
        if (owner := bare_name(taken.type)) in ("Generator", "RandomState"):
            made = getattr(np.random, owner)(bits)
        self.put(made, state)
        return made

    def get(self, value: Any) -> dict[str, Any]:
        return dict(rng.generator_state(value))

    def put(self, live: Any, state: dict[str, Any]) -> None:
        _check_position(state)
        rng.set_generator_state(live, state)


class _SeedSequence:
    """What generators are seeded from, with the number of those that were."""

    name = "numpy.seed_sequence"
    is_value = True

    def claims(self, kind: type) -> bool:
        return kind is np.random.SeedSequence

    def capture(self, value: np.random.SeedSequence, walk: Walk, path: str) -> Node:
        return Object(self.name, type_name(np.random.SeedSequence), walk.node(dict(value.state), path))

    def plan(self, live: np.random.SeedSequence, node: Node, fit: Fit, path: str) -> Make:
        make = fit.replace(live, node, path)

        def act() -> np.random.SeedSequence:
            made = make()
            ahead = made.n_children_spawned - live.n_children_spawned
            if ahead < 0 or {**made.state, "n_children_spawned": 0} != {
                **live.state,
                "n_children_spawned": 0,
            }:
                return made
            if ahead:
                live.spawn(ahead)
            return live

        return act

    def fresh(self, state: Any, taken: Object) -> np.random.SeedSequence:
        return np.random.SeedSequence(**state)


def _check_position(state: dict[str, Any]) -> None:
    """NumPy takes the place of the next word in its buffer unseen, and would read beyond it."""
    places = {"MT19937": (state["state"].get("pos"), 624), "Philox": (state.get("buffer_pos"), 4)}
    place, end = places.get(state["bit_generator"], (0, 0))
    if not 0 <= place <= end:
        raise ValueError(f"the next word would be {place} of {end}")


ADAPTERS = (_PythonRandom(), _NumpyRandom(), _SeedSequence())
