"""The user's other modules: their globals are not saved, and those that change are named."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager
from functools import lru_cache
from types import ModuleType
from typing import Any, Final

from ._frames import MODULE, Scope, is_of_script
from ._looks.budget import Budget

_FREE_LOOKS: Final = 3
_CHEAP_S: Final = 0.005
_SHARE: Final = 0.01  # of the time that the run takes
_MOST_MODULES: Final = 100  # those that were imported first


class Pace:
    """When to look at them: at each save as long as that is cheap, else as often as a small share of the run's time allows."""

    def __init__(self) -> None:
        self._budget, self._num_looks = Budget(), 0

    def is_due(self) -> bool:
        is_cheap = self._num_looks < _FREE_LOOKS or self._budget.last_s < _CHEAP_S
        return is_cheap or not self._budget.is_used_up(_SHARE)

    def look(self) -> AbstractContextManager[None]:
        self._num_looks += 1
        return self._budget.spending()


def other_modules_of(on_stack: Sequence[Scope]) -> list[Scope]:
    """The globals of the user's modules that are not on the stack, as scopes."""
    return [Scope(f"{MODULE}:{name}", None, namespace) for name, namespace in other_modules(on_stack).items()]


def other_modules(on_stack: Sequence[Scope]) -> dict[str, dict[str, Any]]:
    """The globals of the user's modules that are not on the stack, by the module's name."""
    there = {id(scope.namespace) for scope in on_stack if scope.is_module}
    names = _users_modules(len(sys.modules), next(reversed(sys.modules), ""))
    found = {name: vars(sys.modules[name]) for name in names if name in sys.modules}
    others = [(name, namespace) for name, namespace in found.items() if id(namespace) not in there]
    return dict(others[:_MOST_MODULES])


@lru_cache(maxsize=1)
def _users_modules(count: int, newest: str) -> list[str]:
    """There may be thousands of modules: they are looked at again once there are others."""
    return [
        name
        for name, module in list(sys.modules.items())
        if isinstance(module, ModuleType) and _is_users(module)
    ]


def _is_users(module: ModuleType) -> bool:
    file = getattr(module, "__file__", None)
    return isinstance(file, str) and is_of_script(file) and os.path.exists(file)  # torch makes some up
