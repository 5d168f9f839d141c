"""What identifies an object besides its state: not its class's name, nor where that is defined.

The same run as a script (`__main__`) and as a module, before and after its author has moved or renamed a class, has the
same state. Only where a value is made again by its type's name is that name data: a closed table of public names.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from ..records import Alias, Leaf, Node, Object
from ._tree import COLLECTION, entries, innermost

_OF_SKLEARN = ("call", "family", "function", "items", "neighbors", "sparse", "type")
_OF_PANDAS = ("ExtensionArray", "Index")
_MADE_BY_NAME: Final = frozenset(
    {
        COLLECTION,
        "numpy.view",
        "scipy.sparse",
        "set.members",
        *(f"sklearn.{kind}" for kind in _OF_SKLEARN),
        *(f"pandas.{kind}" for kind in _OF_PANDAS),
    }
)
_OWNERS: Final = frozenset({"Generator", "RandomState"})


def kind_of(taken: Object) -> str:
    """The part of the type's name that identifies this value; empty if the adapter is enough."""
    match taken.adapter:
        case adapter if adapter in _MADE_BY_NAME:
            return taken.type
        case "numpy.random":  # NumPy's modules are private; anything else is a bare bit generator
            name = bare_name(taken.type)
            return name if name in _OWNERS else ""
        case "sklearn.object":  # a user's class is known only from a live one
            return taken.type if taken.type.startswith("sklearn.") else ""
    return ""


def _is_same_object(one: Object, other: Object) -> bool:
    """Whether both are the same kind of object, by the same adapter, with equal facts and equal states."""
    is_kind = (one.adapter, kind_of(one), one.about) == (other.adapter, kind_of(other), other.about)
    return is_kind and is_same(one.state, other.state)


def nodes(tree: Node) -> Iterator[tuple[str, Node]]:
    """As `entries`, each under another path; of an object only its kind and plain value, for its parts have entries of their own.

    The kind of an object that is nothing but an array is at the path of that and a slash.
    """
    for path, node in entries(tree):
        if not isinstance(node, Object):
            yield path, node
        elif isinstance(innermost(node), Leaf | Alias):
            yield f"{path}/", _without_parts(node)
        else:
            yield path, _without_parts(node)


def _without_parts(node: Node) -> Node:
    if isinstance(node, Object):
        return Object(node.adapter, node.type, _without_parts(node.state), node.about)
    has_parts = isinstance(node, Leaf | Alias) or (isinstance(node, dict | list | tuple) and node)
    return None if has_parts else node


def is_same(was: Any, now: Any) -> bool:
    """Whether two nodes, or plain values, are equal; NaN equals NaN, and -0.0 is not 0.0."""
    if type(was) is not type(now):
        return False
    if isinstance(was, Object):
        return _is_same_object(was, now)
    if isinstance(was, float):
        return was.hex() == now.hex()
    if isinstance(was, complex):
        return is_same(was.real, now.real) and is_same(was.imag, now.imag)
    if isinstance(was, tuple | list):
        return len(was) == len(now) and all(map(is_same, was, now))
    if isinstance(was, dict):
        return was.keys() == now.keys() and all(is_same(value, now[key]) for key, value in was.items())
    return was == now


def type_name(kind: type) -> str:
    """`package.module.Class`; for people, never imported."""
    return f"{kind.__module__}.{kind.__qualname__}"


def bare_name(type_name: str) -> str:
    """The name of a type without its module and without the classes around it."""
    return type_name.rpartition(".")[2]


def is_called(type_name: str, kind: type) -> bool:
    """Whether `kind` has this name, wherever it is defined now."""
    return bare_name(type_name) == kind.__name__
