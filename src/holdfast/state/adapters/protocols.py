"""Objects that hand out their state and take it back: `state_dict`/`load_state_dict`, `get_state`/`set_state`.

Learning-rate schedulers and gradient scalers are such objects. Many loaders put what they get into
`__dict__`, so a saved state must have exactly the keys and the types of the live one.
"""

from __future__ import annotations

from typing import Any

from ... import paths
from ...records import Node, Object
from .._fit import Fit, Make, said
from .._walk import Walk, type_name


class _Stateful:
    def __init__(self, get: str, put: str) -> None:
        self.name = get
        self._get, self._put = get, put

    def claims(self, kind: type) -> bool:
        return callable(getattr(kind, self._get, None)) and callable(getattr(kind, self._put, None))

    def capture(self, value: Any, walk: Walk, path: str) -> Node:
        return Object(self.name, type_name(type(value)), walk.node(getattr(value, self._get)(), path))

    def plan(self, live: Any, node: Node, fit: Fit, path: str) -> Make:
        taken = fit.object_of(self.name, live, node, path, same_class=True)
        if taken is None:
            return fit.keep(live)
        state = getattr(live, self._get)()
        with fit.keeping_types():
            make = (
                _plan_dict(state, taken.state, fit, path)
                if isinstance(state, dict)
                else fit.into(state, taken.state, path)
            )

        def act() -> Any:
            getattr(live, self._put)(make())
            return live

        return act


def _plan_dict(live: dict[Any, Any], node: Node, fit: Fit, path: str) -> Make:
    """A new dict with exactly the live keys."""
    if not isinstance(node, dict):
        return fit.misfit(live, path, f"{said(node)} was saved, the live state is {said(live)}")
    makes = {}
    for key in [*live, *(key for key in node if key not in live)]:
        below = paths.child(path, key)
        if key not in node:
            makes[key] = fit.misfit(live[key], below, "is not in the saved state")
        elif key not in live:
            fit.problem(below, "was saved, and the live object has no such entry")
        else:
            makes[key] = fit.into(live[key], node[key], below)
    return lambda: {key: make() for key, make in makes.items()}


ADAPTERS = (_Stateful("state_dict", "load_state_dict"), _Stateful("get_state", "set_state"))
