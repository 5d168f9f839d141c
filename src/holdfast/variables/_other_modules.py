"""The user's other modules: their globals are not saved, and those that change are named."""

from __future__ import annotations

import sys
from collections.abc import Hashable, Iterator, Sequence
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

    def begin(self, on_stack: Sequence[Scope], handed: Handed) -> None:
        """The loop begins."""
        for module, name, value in _globals(on_stack):
            if (module, name) not in self._before and not _is_held(value, handed):
                self._before[module, name] = self._marks.of(value, f"{module}.{name}")

    def changed(self, on_stack: Sequence[Scope], handed: Handed) -> dict[str, Any]:
        """What is not what it was when the loop began: values by `module.name`."""
        found = {}
        for module, name, value in _globals(on_stack):
            at = module, name
            if at not in self._before or _is_held(value, handed):
                continue
            if at in self._changed or self._marks.of(value, f"{module}.{name}") != self._before[at]:
                self._changed.add(at)
                found[f"{module}.{name}"] = value
        return found


def _globals(on_stack: Sequence[Scope]) -> Iterator[tuple[str, str, Any]]:
    there = {id(scope.namespace) for scope in on_stack if scope.is_module}
    modules = [
        (name, vars(module))
        for name, module in list(sys.modules.items())
        if isinstance(module, ModuleType) and id(vars(module)) not in there and _is_users(module)
    ]
    for module, namespace in modules[:_MOST_MODULES]:
        for name, value in list(namespace.items()):
            if not name.startswith("__") and is_data(value):
                yield module, name, value


def _is_users(module: ModuleType) -> bool:
    file = getattr(module, "__file__", None)
    return isinstance(file, str) and is_of_script(file)


def _is_held(value: Any, handed: Handed) -> bool:
    return handed.holds(value) or handed.shares_memory(value)
