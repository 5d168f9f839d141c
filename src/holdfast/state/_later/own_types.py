"""Classes of the running script whose values can be made again as data: they are known without being registered."""

from __future__ import annotations

import dataclasses
import enum
import sys
import sysconfig
from types import ModuleType

from ...records import Node, Object
from .._fit import REGISTRABLE
from .._kinds import type_name
from .._registry import add_type, can_make
from .._tree import entries

_LIBRARIES = ("site-packages", "dist-packages", sysconfig.get_path("stdlib"))


def meet_own_types(tree: Node) -> None:
    """Register the named tuples, dataclasses and Enums that `tree` needs, if a module of the script's own has them.

    It is loaded already: nothing is imported, and a class of a library is not looked for.
    """
    wanted = {
        (node.type, node.adapter): node
        for _, node in entries(tree)
        if isinstance(node, Object) and node.adapter in REGISTRABLE
    }
    for (name, adapter), node in wanted.items():
        kind = _own(name, adapter)
        if kind is not None and (type_name(kind) == name or not can_make(node)):
            add_type(kind)


def _own(name: str, adapter: str) -> type | None:
    parts = name.split(".")
    for end in range(len(parts) - 1, 0, -1):
        module = sys.modules.get(".".join(parts[:end]))
        found = _inside(module, parts[end:]) if module is not None and _is_own(module) else None
        if found is not None and _is_of(found, adapter):
            return found
    return _inside_main(parts[-1], adapter)


def _inside_main(name: str, adapter: str) -> type | None:
    """What was saved by a script that is now a module, or the other way round."""
    main = sys.modules.get("__main__")
    found = None if main is None else vars(main).get(name)
    return found if isinstance(found, type) and _is_of(found, adapter) else None


def _inside(module: ModuleType, names: list[str]) -> type | None:
    found: object = module
    for name in names:
        found = vars(found).get(name) if hasattr(found, "__dict__") else None
    return found if isinstance(found, type) else None


def _is_own(module: ModuleType) -> bool:
    file = getattr(module, "__file__", None)
    return module.__name__ == "__main__" or (
        file is not None and not any(each in file for each in _LIBRARIES if each)
    )


def _is_of(kind: type, adapter: str) -> bool:
    match adapter:
        case "namedtuple":
            return issubclass(kind, tuple) and hasattr(kind, "_make")
        case "enum":
            return issubclass(kind, enum.Enum)
        case _:
            return dataclasses.is_dataclass(kind)
