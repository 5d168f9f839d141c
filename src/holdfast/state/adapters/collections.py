"""Standard variants of dict and list, restored by type from a closed table; nothing is looked up by name.

Only what Python itself can rebuild is accepted: a `defaultdict` must have a factory from the table.
"""

from __future__ import annotations

from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable, Mapping
from typing import Any

from ...records import Node, Object
from .._adapter import Adapter
from .._fit import Fit, Make
from .._kinds import type_name
from .._tree import COLLECTION
from .._walk import Walk
from .python import DICT, LIST

_FACTORIES: dict[str, Callable[[], Any] | None] = {
    "None": None,
    **{kind.__name__: kind for kind in (list, dict, set, int, float, str, bool)},
}


class _Collection:
    """`OrderedDict`, `defaultdict`, `Counter` and `deque`: the contents of a dict or list, and a type."""

    name = COLLECTION

    def claims(self, kind: type) -> bool:
        return kind in _KINDS.values()

    def capture(self, value: Any, walk: Walk, path: str) -> Node:
        contents = _plain_kin(value).capture(value, walk, path)
        return Object(self.name, type_name(type(value)), contents, _about(value, walk, path))

    def plan(self, live: Any, node: Node, fit: Fit, path: str) -> Make:
        return _plain_kin(live).plan(live, node, fit, path)

    def fresh(self, state: Any, taken: Object) -> Any:
        match _KINDS[taken.type]:
            case kind if kind is deque:
                return deque(state, taken.about["maxlen"])
            case kind if kind is defaultdict:
                return defaultdict(_FACTORIES[taken.about["factory"]], state)
            case kind if kind is OrderedDict:
                made = OrderedDict(state)
                if taken.about:
                    vars(made)["_metadata"] = _metadata(taken.about["metadata"])
                return made
            case kind:
                return kind(state)


_KINDS: dict[str, type] = {type_name(kind): kind for kind in (OrderedDict, defaultdict, Counter, deque)}


def _plain_kin(value: Any) -> Adapter:
    return LIST if isinstance(value, deque) else DICT


def _about(value: Any, walk: Walk, path: str) -> dict[str, Any]:
    match value:
        case deque():
            return {"maxlen": value.maxlen}
        case defaultdict():
            for name, factory in _FACTORIES.items():
                if value.default_factory is factory:
                    return {"factory": name}
            hint = f"Turn it into a dict, or use one of {', '.join(_FACTORIES)} as its factory."
            walk.refuse(path, f"defaultdict of {value.default_factory!r}", hint)
        case OrderedDict() if metadata := _metadata(getattr(value, "_metadata", None)):
            # The versions of the modules in a torch state_dict, with which old ones can still be loaded.
            return {"metadata": metadata}
        case _:
            return {}


def _metadata(found: Any) -> dict[str, dict[str, Any]]:
    """`found` as nested dicts of plain scalars; empty if it is anything else."""
    plain = isinstance(found, Mapping) and all(
        isinstance(name, str) and isinstance(facts, Mapping) and all(map(_is_fact, facts.items()))
        for name, facts in found.items()
    )
    return OrderedDict((name, dict(facts)) for name, facts in found.items()) if plain else {}


def _is_fact(fact: tuple[Any, Any]) -> bool:
    return isinstance(fact[0], str) and type(fact[1]) in (type(None), bool, int, str)


ADAPTERS = (_Collection(),)
