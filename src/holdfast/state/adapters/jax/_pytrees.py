"""Objects of classes that are registered with JAX as pytrees, Equinox's modules among them: child by child.

What such a class keeps beside its children is static: see `_static`.
"""

from __future__ import annotations

import dataclasses
from collections import OrderedDict, defaultdict
from collections.abc import Hashable
from typing import Any, Final

import jax
import jax.tree_util as trees

from .... import paths
from ....records import Node, Object
from ..._exclude import is_left_out
from ..._fit import Fit, Make
from ..._kinds import is_same, type_name
from ..._walk import Walk
from .. import protocols
from ..attributes import why_not
from ..dataclass import Dataclass
from ..python import plan_entries
from ._static import StaticLeaves, has_data, plan_static, static_node

_STANDARD: Final = (tuple, list, dict, type(None), OrderedDict, defaultdict)
_STATIC: Final = "(static)"


def _is_registered(kind: type) -> bool:
    """Whether a class is a pytree because somebody has registered it, and has no protocol of its own."""
    if kind in _STANDARD or (issubclass(kind, tuple) and hasattr(kind, "_make")):
        return False
    known: Any = getattr(trees, "is_tree_node", None)  # from JAX 0.7 on
    is_node = kind in _registered() if known is None else known(kind)
    return is_node and not any(each.claims(kind) for each in protocols.ADAPTERS)


class RegisteredDataclass(Dataclass):
    """Registered dataclasses, field by field: of those that are no children what is data."""

    def claims(self, kind: type) -> bool:
        return dataclasses.is_dataclass(kind) and _is_registered(kind)

    def capture(self, value: Any, walk: Walk, path: str) -> Node:
        leaves, state = StaticLeaves(), {}
        names = self._child_names(value)
        with walk.taking_others_by(leaves) as leaves.before:
            for name, part in self.fields_of(value).items():
                below = walk.child(path, name)
                state[name] = walk.node(part, below) if name in names else static_node(part, walk, below)
        return Object(self.name, type_name(type(value)), state)

    def plan(self, live: Any, node: Node, fit: Fit, path: str) -> Make:
        taken = fit.object_of(self.name, live, node, path, holds=dict)
        if taken is None:
            return fit.keep(live)
        names, leaves, fields = self._child_names(live), StaticLeaves(), self.fields_of(live)
        saved = taken.state
        static = {name: saved[name] for name in fields if name in saved and name not in names}
        with fit.taking_others_by(leaves) as leaves.before:
            makes = plan_entries(
                {name: part for name, part in fields.items() if name not in static},
                {name: part for name, part in saved.items() if name not in static},
                fit,
                path,
            )
            for name, part in static.items():
                below = paths.child(path, name)
                is_out = is_left_out(part)
                makes[name] = (
                    fit.left_out(fields[name], below)
                    if is_out
                    else plan_static(fields[name], part, fit, below)
                )
        is_taken = fit.is_taken(live, saved)
        return lambda: self.fill_or_copy(live, {name: make() for name, make in makes.items()}, is_taken)

    def _child_names(self, value: Any) -> set[Hashable]:
        names = set(_taken_apart(value)[0])
        fields: set[Hashable] = {field.name for field in dataclasses.fields(value)}
        return names if names <= fields else fields  # a class that flattens itself has its own names


class Pytree:
    """Other registered classes; a live object gets the attributes of one that its own class makes of the saved parts."""

    name = "jax.pytree"

    def claims(self, kind: type) -> bool:
        return _is_registered(kind)

    def capture(self, value: Any, walk: Walk, path: str) -> Node:
        children, structure = _taken_apart(value)
        leaves = StaticLeaves()
        with walk.taking_others_by(leaves) as leaves.before:
            state = {key: walk.node(child, walk.child(path, key)) for key, child in children.items()}
        static = static_node(_static_of(structure))
        return Object(
            self.name, type_name(type(value)), state | {_STATIC: static} if has_data(static) else state
        )

    def plan(self, live: Any, node: Node, fit: Fit, path: str) -> Make:
        taken = fit.object_of(self.name, live, node, path, same_class=True, holds=dict)
        if taken is None:
            return fit.keep(live)
        children, structure = _taken_apart(live)
        saved, leaves = dict(taken.state), StaticLeaves()
        static = saved.pop(_STATIC, None)
        with fit.taking_others_by(leaves) as leaves.before:
            makes = plan_entries(children, saved, fit, path)
        make_structure = _plan_structure(structure, static, fit, paths.child(path, _STATIC))
        is_taken = fit.is_taken(live, taken.state)

        def act() -> Any:
            made = make_structure().unflatten([makes[key]() for key in children])
            return made if is_taken or not _is_open(live) else _renewed(live, made)

        return act


def _taken_apart(value: Any) -> tuple[dict[Hashable, Any], Any]:
    """The children of a pytree by their keys, in order, and what puts such together."""
    pairs, structure = trees.tree_flatten_with_path(value, is_leaf=lambda each: each is not value)
    keys = [_name_of(key) for (key,), _ in pairs]
    if len(set(keys)) < len(keys):
        keys = list(map(str, range(len(keys))))
    return dict(zip(keys, (child for _, child in pairs), strict=True)), structure


def _name_of(key: Any) -> Hashable:
    match key:
        case trees.GetAttrKey():
            return key.name
        case trees.DictKey():
            return key.key
        case trees.SequenceKey():
            return str(key.idx)
        case trees.FlattenedIndexKey():
            return str(key.key)
    return str(key)


def _static_of(structure: Any) -> Any:
    return structure.node_data()[1]


def _plan_structure(structure: Any, saved: Node, fit: Fit, path: str) -> Make:
    """Plan what puts the children together: with the static data that were saved."""
    if is_left_out(saved):
        return fit.left_out(structure, path)
    here = _static_of(structure)
    now = static_node(here)
    if is_same(saved, now if has_data(now) else None):
        return fit.keep(structure)
    make, kind = plan_static(here, saved, fit, path), structure.node_data()[0]
    return lambda: _Structure(kind, make(), structure)


class _Structure:
    """What puts children together with other static data than the live object has."""

    def __init__(self, kind: type, static: Any, live: Any) -> None:
        self._kind, self._static, self._live = kind, static, live

    def unflatten(self, children: list[Any]) -> Any:
        rebuild: Any = getattr(trees.PyTreeDef, "from_node_data_and_children", None)  # from JAX 0.7 on
        if rebuild is None:
            return _registered()[self._kind].from_iter(self._static, children)
        made = rebuild(trees.default_registry, (self._kind, self._static), self._live.children())
        return made.unflatten(children)


def _registered() -> Any:
    """The table of older versions of JAX, which have nothing public that tells."""
    return jax._src.tree_util._registry  # type: ignore[attr-defined]


def _is_open(live: Any) -> bool:
    """Whether its attributes are all that it has, and may be set."""
    kind = type(live)
    has_slots = any(vars(each).get("__slots__") for each in kind.__mro__)
    is_known = hasattr(live, "__dict__") and why_not(live) is None
    return is_known and kind.__setattr__ is object.__setattr__ and not has_slots


def _renewed(live: Any, made: Any) -> Any:
    attributes = dict(vars(made))
    vars(live).clear()
    vars(live).update(attributes)
    return live
