"""Dataclasses, classes of attrs and models of pydantic, field by field; only a live instance says of which class."""

from __future__ import annotations

import copy
import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

from ...records import Node, Object
from .._fit import Fit, Make
from .._kinds import type_name
from .._registry import registered_type
from .._walk import Walk
from .python import NAMESPACES, plan_entries


class Fields(ABC):
    """For an adapter to inherit whose values have named parts.

    `fields_of` gives these, and `fill` what a live value becomes with new ones; `same_class`: whether only an
    instance of the same class takes them.
    """

    name: str
    same_class = False

    @abstractmethod
    def fields_of(self, value: Any) -> dict[str, Any]: ...

    @abstractmethod
    def fill(self, live: Any, fields: dict[str, Any]) -> Any: ...

    def capture(self, value: Any, walk: Walk, path: str) -> Node:
        fields = {
            name: walk.node(part, walk.child(path, name)) for name, part in self.fields_of(value).items()
        }
        return Object(self.name, type_name(type(value)), fields)

    def plan(self, live: Any, node: Node, fit: Fit, path: str) -> Make:
        taken = fit.object_of(self.name, live, node, path, same_class=self.same_class, holds=dict)
        if taken is None:
            return fit.keep(live)
        makes = plan_entries(self.fields_of(live), taken.state, fit, path)
        is_taken = fit.is_taken(live, taken.state)

        return lambda: self.fill_or_copy(live, {name: make() for name, make in makes.items()}, is_taken)

    def fill_or_copy(self, live: Any, fields: dict[str, Any], is_taken: bool) -> Any:
        """`fill`, or where something else is put into this live value already, of a copy."""
        return self.fill(copy.copy(live) if is_taken else live, fields)


class Dataclass(Fields):
    name = "dataclass"

    def claims(self, kind: type) -> bool:
        return dataclasses.is_dataclass(kind)

    def fill(self, live: Any, fields: dict[str, Any]) -> Any:
        # A frozen instance may be shared: it stays as it is, and a copy gets the values.
        filled = copy.copy(live) if type(live).__dataclass_params__.frozen else live
        for name, value in fields.items():
            object.__setattr__(filled, name, value)
        return filled

    def fields_of(self, value: Any) -> dict[str, Any]:
        return {
            field.name: getattr(value, field.name)
            for field in dataclasses.fields(value)
            if hasattr(value, field.name)
        }

    def makes(self, taken: Object) -> bool:
        return registered_type(taken.type) is not None

    def fresh(self, state: Any, taken: Object) -> Any:
        """Of a registered class, without its `__init__`; of another one, the fields."""
        kind = registered_type(taken.type)
        if kind is None or not dataclasses.is_dataclass(kind):
            return state
        made = object.__new__(kind)
        for name, value in state.items():
            object.__setattr__(made, name, value)
        return made


class Attrs(Fields):
    """Classes of attrs; of those that are made without a `__dict__`, too."""

    name = "attrs"
    same_class = True

    def claims(self, kind: type) -> bool:
        return hasattr(kind, "__attrs_attrs__")

    def fields_of(self, value: Any) -> dict[str, Any]:
        names = (each.name for each in type(value).__attrs_attrs__)
        return {name: getattr(value, name) for name in names if hasattr(value, name)}

    def fill(self, live: Any, fields: dict[str, Any]) -> Any:
        is_frozen = getattr(type(live).__setattr__, "__name__", "") == "_frozen_setattrs"
        filled = copy.copy(live) if is_frozen else live
        for name, value in fields.items():
            object.__setattr__(filled, name, value)
        return filled


class Model(Fields):
    """Models of pydantic: their fields, what they took beside them, and their private attributes."""

    name = "pydantic"
    same_class = True

    def claims(self, kind: type) -> bool:
        return hasattr(kind, "__pydantic_fields__") and hasattr(kind, "__pydantic_private__")

    def fields_of(self, value: Any) -> dict[str, Any]:
        return {**vars(value), **(value.__pydantic_extra__ or {}), **(value.__pydantic_private__ or {})}

    def fill(self, live: Any, fields: dict[str, Any]) -> Any:
        filled = copy.copy(live) if type(live).model_config.get("frozen") else live
        for held in (vars(filled), filled.__pydantic_extra__, filled.__pydantic_private__):
            if held:
                held.update({name: fields[name] for name in held})
        return filled


class Namespace(Fields):
    """`types.SimpleNamespace` and `argparse.Namespace`; a live one takes any names."""

    name = "namespace"
    _kinds: ClassVar[Mapping[str, type]] = {type_name(each): each for each in NAMESPACES}

    def claims(self, kind: type) -> bool:
        return kind in self._kinds.values()

    def fields_of(self, value: Any) -> dict[str, Any]:
        return dict(vars(value))

    def fill(self, live: Any, fields: dict[str, Any]) -> Any:
        vars(live).clear()
        vars(live).update(fields)
        return live

    def plan(self, live: Any, node: Node, fit: Fit, path: str) -> Make:
        taken = fit.object_of(self.name, live, node, path, holds=dict)
        if taken is None:
            return fit.keep(live)
        make = fit.into(self.fields_of(live), taken.state, path)
        return lambda: self.fill(live, make())

    def fresh(self, state: Any, taken: Object) -> Any:
        return self._kinds[taken.type](**state)


ADAPTERS = (Namespace(), Attrs(), Model(), Dataclass())
