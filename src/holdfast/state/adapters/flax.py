"""Flax: nnx modules, optimizers, generators and metrics by the values of their variables; `flax.struct` dataclasses."""

from __future__ import annotations

import dataclasses
from typing import Any

from flax import nnx

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
