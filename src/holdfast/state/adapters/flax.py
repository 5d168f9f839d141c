"""Flax: nnx modules, optimizers, generators and metrics by the values of their variables; `flax.struct` dataclasses."""

from __future__ import annotations

import dataclasses
from typing import Any

from flax import nnx

from ...records import Node, Object
from .._fit import Fit, Make
from .._walk import Walk, type_name
from .dataclass import Dataclass

_NODE: Any = getattr(nnx, "Pytree", None) or nnx.Object  # as it was called before Flax 0.12


class _Graph:
    """What nnx splits into a static part, which the script builds again, and the values of its variables.

    A live one is filled in place, variable by variable, so that shared variables stay shared.
    """

    name = "flax.nnx"

    def claims(self, kind: type) -> bool:
        return issubclass(kind, _NODE)

    def capture(self, value: Any, walk: Walk, path: str) -> Node:
        values = nnx.to_pure_dict(nnx.state(value))
        return Object(self.name, type_name(type(value)), walk.node(values, path))

    def plan(self, live: Any, node: Node, fit: Fit, path: str) -> Make:
        taken = fit.object_of(self.name, live, node, path, same_class=True)
        if taken is None:
            return fit.keep(live)
        state = nnx.state(live)
        with fit.keeping_types(exact=True):
            make = fit.into(nnx.to_pure_dict(state), taken.state, path)

        def act() -> Any:
            nnx.replace_by_pure_dict(state, make())
            nnx.update(live, state)
            return live

        return act


class _Struct(Dataclass):
    """`flax.struct` dataclasses, such as a `TrainState`: the fields that are part of the tree; the others are the script's.

    They are frozen: a restore makes a new one.
    """

    name = "flax.struct"
    same_class = True

    def claims(self, kind: type) -> bool:
        return dataclasses.is_dataclass(kind) and getattr(kind, "_flax_dataclass", False)

    def fields_of(self, value: Any) -> dict[str, Any]:
        return {
            field.name: getattr(value, field.name)
            for field in dataclasses.fields(value)
            if field.metadata.get("pytree_node", True)
        }


ADAPTERS = (_Graph(), _Struct())
