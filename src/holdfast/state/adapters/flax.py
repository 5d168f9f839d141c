"""Flax: nnx modules, optimizers, generators and metrics by the values of their variables; variables and states by
themselves, frozen dicts; `flax.struct` dataclasses."""

from __future__ import annotations

import dataclasses
from typing import Any

from flax import nnx
from flax.core import FrozenDict

from ...records import Node, Object
from .._fit import Fit, Make, said
from .._kinds import type_name
from .._walk import Walk
from .dataclass import Dataclass
from .protocols import Stated

_NODE: Any = getattr(nnx, "Pytree", None) or nnx.Object  # as it was called before Flax 0.12


class _Graph(Stated):
    """What nnx splits into a static part, which the script builds again, and the values of its variables.

    A live one is filled in place, variable by variable, so that shared variables stay shared.
    """

    name = "flax.nnx"

    def claims(self, kind: type) -> bool:
        return issubclass(kind, _NODE)

    def get(self, value: Any) -> Any:
        return nnx.to_pure_dict(nnx.state(value))

    def put(self, live: Any, state: Any) -> None:
        variables = nnx.state(live)
        nnx.replace_by_pure_dict(variables, state)
        nnx.update(live, variables)


class _Variable:
    """A variable of nnx, by its value; what it knows beside that (its sharding, its hooks) is the script's."""

    name = "flax.nnx.Variable"

    def claims(self, kind: type) -> bool:
        return issubclass(kind, nnx.Variable)

    def capture(self, value: Any, walk: Walk, path: str) -> Node:
        return Object(self.name, type_name(type(value)), walk.node(_value_of(value), path))

    def plan(self, live: Any, node: Node, fit: Fit, path: str) -> Make:
        taken = fit.object_of(self.name, live, node, path, same_class=True)
        if taken is None:
            return fit.keep(live)
        make = fit.into(_value_of(live), taken.state, path)
        is_taken = fit.is_taken(live, taken.state)

        def act() -> Any:
            filled = live.copy() if is_taken else live
            _set_value(filled, make())
            return filled

        return act


class _State:
    """An `nnx.State`: the dict of variables or arrays that it is; a live one is filled in place."""

    name = "flax.nnx.State"

    def claims(self, kind: type) -> bool:
        return issubclass(kind, nnx.State)

    def capture(self, value: Any, walk: Walk, path: str) -> Node:
        return Object(self.name, type_name(type(value)), walk.node(dict(value.raw_mapping), path))

    def plan(self, live: Any, node: Node, fit: Fit, path: str) -> Make:
        taken = fit.object_of(self.name, live, node, path, holds=dict)
        if taken is None:
            return fit.keep(live)
        make = fit.into(live.raw_mapping, taken.state, path)

        def act() -> Any:
            filled = make()
            return live if filled is live.raw_mapping else type(live)(filled)

        return act


class _Frozen:
    """A `FrozenDict`: a new one, of what the live one's entries become."""

    name = "flax.FrozenDict"

    def claims(self, kind: type) -> bool:
        return kind is FrozenDict

    def capture(self, value: FrozenDict[Any, Any], walk: Walk, path: str) -> Node:
        return Object(self.name, type_name(FrozenDict), walk.node(value.unfreeze(), path))

    def plan(self, live: FrozenDict[Any, Any], node: Node, fit: Fit, path: str) -> Make:
        entries = node.state if isinstance(node, Object) and node.adapter == self.name else node
        if not isinstance(entries, dict):
            return fit.misfit(live, path, f"{said(node)} was saved, the live object is a FrozenDict")
        make = fit.into(live.unfreeze(), entries, path)
        return lambda: FrozenDict(make())

    def fresh(self, state: Any, taken: Object) -> FrozenDict[Any, Any]:
        return FrozenDict(state)


def _value_of(variable: Any) -> Any:
    get = getattr(variable, "get_raw_value", None)  # from Flax 0.12 on
    return variable.raw_value if get is None else get()


def _set_value(variable: Any, value: Any) -> None:
    put = getattr(variable, "set_raw_value", None)
    if put is None:
        variable.raw_value = value
    else:
        put(value)


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


ADAPTERS = (_Graph(), _Variable(), _State(), _Frozen(), _Struct())
