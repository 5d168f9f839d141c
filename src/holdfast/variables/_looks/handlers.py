"""Handlers of loggers, of the script's own classes: what they keep may decide, and a logger is all that leads to them."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

from .._frames import Scope, is_own_class
from .._names import numbered


@dataclass(frozen=True, slots=True)
class HandlerScope(Scope):
    """Those of all loggers, by the names of their classes."""

    def variables(self) -> dict[str, Any]:
        loggers = [logging.root, *list(logging.root.manager.loggerDict.values())]
        handlers = [each for one in loggers if isinstance(one, logging.Logger) for each in one.handlers]
        found: dict[str, Any] = {}
        for each in {id(each): each for each in handlers if is_own_class(type(each))}.values():
            found[numbered(type(each).__name__, found)] = each
        return found

    def put(self, name: str, value: Any) -> None:
        """Nothing: which handlers there are is the script's affair."""


def handlers() -> list[Scope]:
    """The scope, if there is a handler in it."""
    scope = HandlerScope("logging", None, {})
    return [scope] if scope.variables() else []
