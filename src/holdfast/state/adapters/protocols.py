"""Objects that return their state and accept it back: `state_dict`/`load_state_dict`, `get_state`/`set_state`.

Learning-rate schedulers and gradient scalers are such objects. Many loaders put what they get into
`__dict__`, so a saved state must have exactly the keys and the types of the live one.
"""

from __future__ import annotations

from typing import Any

from ...records import Node, Object
from .._fit import Fit, Make, said
from .._tree import contents
from .._walk import Walk, type_name
from .python import plan_entries


class Stateful:
    """An adapter for objects with the methods `get` and `put`.

    The outermost keys must be the live ones; if `exact`, those of every dict within too.
    """

    def __init__(self, get: str, put: str, *, base: type = object, exact: bool = False) -> None:
        self.name = get
        self._get, self._put, self._base, self._exact = get, put, base, exact

    def claims(self, kind: type) -> bool:
        has_both = callable(getattr(kind, self._get, None)) and callable(getattr(kind, self._put, None))
        return has_both and issubclass(kind, self._base)

    def capture(self, value: Any, walk: Walk, path: str) -> Node:
        return Object(self.name, type_name(type(value)), walk.node(getattr(value, self._get)(), path))

    def plan(self, live: Any, node: Node, fit: Fit, path: str) -> Make:
        taken = fit.object_of(self.name, live, node, path, same_class=True)
        if taken is None:
            return fit.keep(live)
        state = getattr(live, self._get)()
        with fit.keeping_types(exact=self._exact):
            if isinstance(state, dict):
                make = _plan_dict(state, taken.state, fit, path)
            else:
                make = fit.into(state, taken.state, path)

        def act() -> Any:
            getattr(live, self._put)(make())
            return live

        return act


def _plan_dict(live: dict[Any, Any], node: Node, fit: Fit, path: str) -> Make:
    """A new dict with exactly the live keys."""
    entries = contents(node)
    if not isinstance(entries, dict):
        return fit.misfit(live, path, f"{said(node)} was saved, the live state is {said(live)}")
    makes = plan_entries(live, entries, fit, path)
    return lambda: {key: make() for key, make in makes.items()}


ADAPTERS = (Stateful("state_dict", "load_state_dict"), Stateful("get_state", "set_state"))
