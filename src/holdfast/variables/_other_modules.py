"""The user's other modules: their globals are not saved, and those that change are named."""

from __future__ import annotations

import sys
from collections.abc import Hashable, Sequence
from types import ModuleType
from typing import Any, Final

from ._frames import Scope, is_of_script
from ._handed import Handed
from ._kinds import is_data
from ._marks import Marks

_MOST_MODULES: Final = 100


class OtherModules:
    """The data among the globals of modules that are not on the stack of the loop."""

    def __init__(self, marks: Marks) -> None:
        self._marks = marks
        self._before: dict[tuple[str, str], Hashable] = {}
        self._changed: set[tuple[str, str]] = set()
        self._namespaces: dict[str, dict[str, Any]] = {}

    def begin(self, on_stack: Sequence[Scope], handed: Handed) -> None:
        """The loop begins."""
        self._namespaces = other_modules(on_stack)
        for module, namespace in self._namespaces.items():
            for name, value in list(namespace.items()):
                is_known = name.startswith("__") or (module, name) in self._before
                if not is_known and is_data(value) and not _is_held(value, handed):
                    self._before[module, name] = self._marks.of(value, f"{module}.{name}")

    def changed(self, handed: Handed) -> dict[str, Any]:
        """What is not what it was when the loop began: values by `module.name`."""
        found = {}
        for at, before in self._before.items():
            module, name = at
            value = self._namespaces.get(module, {}).get(name)
            if not is_data(value) or _is_held(value, handed):
                continue
            if at in self._changed or self._marks.of(value, f"{module}.{name}") != before:
                self._changed.add(at)
                found[f"{module}.{name}"] = value
        return found


def other_modules(on_stack: Sequence[Scope]) -> dict[str, dict[str, Any]]:
    """The globals of the user's modules that are not on the stack, by the module's name."""
    there = {id(scope.namespace) for scope in on_stack if scope.is_module}
    found = {
        name: vars(module)
        for name, module in list(sys.modules.items())
        if isinstance(module, ModuleType) and id(vars(module)) not in there and _is_users(module)
    }
    return dict(list(found.items())[:_MOST_MODULES])


def _is_users(module: ModuleType) -> bool:
    file = getattr(module, "__file__", None)
    return isinstance(file, str) and is_of_script(file)


def _is_held(value: Any, handed: Handed) -> bool:
    return handed.holds(value) or handed.shares_memory(value)
