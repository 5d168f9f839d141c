"""Objects that return their state and accept it back: `state_dict`/`load_state_dict`, `get_state`/`set_state`.

Learning-rate schedulers and gradient scalers are such objects. Many loaders put what they get into
`__dict__`, so a saved state must have exactly the keys and the types of the live one.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from ...records import Node, Object
from .._fit import Fit, Make, said
from .._kinds import type_name
from .._tree import contents
from .._walk import Walk
from .python import plan_entries


class Stated(ABC):
    """For an adapter to inherit whose values `get` gives the state of, and `put` sets it in a live one.

    A saved state must have the types of the live one, and if `exact`, the keys of every dict within.
    """

    name: str
    same_class = True
    exact = True

    @abstractmethod
    def get(self, value: Any) -> Any: ...

    @abstractmethod
    def put(self, live: Any, state: Any) -> None: ...

    def capture(self, value: Any, walk: Walk, path: str) -> Node:
        return Object(self.name, type_name(type(value)), walk.node(self.get(value), path))

    def plan(self, live: Any, node: Node, fit: Fit, path: str) -> Make:
        taken = fit.object_of(self.name, live, node, path, same_class=self.same_class)
        if taken is None:
            return fit.keep(live)
        with fit.keeping_types(exact=self.exact):
            make = self.plan_state(self.get(live), taken.state, fit, path)

        def act() -> Any:
            self.put(live, make())
            return live

        return act

    def plan_state(self, state: Any, node: Node, fit: Fit, path: str) -> Make:
        return fit.into(state, node, path)


class Stateful(Stated):
    """An adapter for objects with the methods `get` and `put`. The outermost keys must be the live ones."""

    def __init__(self, get: str, put: str, *, base: type = object, exact: bool = False) -> None:
        self.name, self.exact = get, exact
        self._get, self._put, self._base = get, put, base

    def claims(self, kind: type) -> bool:
        has_both = callable(getattr(kind, self._get, None)) and callable(getattr(kind, self._put, None))
        return has_both and issubclass(kind, self._base)

    def get(self, value: Any) -> Any:
        return getattr(value, self._get)()

    def put(self, live: Any, state: Any) -> None:
        getattr(live, self._put)(state)

    def plan_state(self, state: Any, node: Node, fit: Fit, path: str) -> Make:
        if not isinstance(state, dict):
            return fit.into(state, node, path)
        entries = contents(node)
        if not isinstance(entries, dict):
            return fit.misfit(state, path, f"{said(node)} was saved, the live state is {said(state)}")
        makes = plan_entries(state, entries, fit, path)
        return lambda: {key: make() for key, make in makes.items()}


ADAPTERS = (Stateful("state_dict", "load_state_dict"), Stateful("get_state", "set_state"))
