"""Loggers: handlers and filters of the script's own classes, which keep what may decide, and how loggers were set."""

from __future__ import annotations

import logging
import sys
import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import FunctionType
from typing import Any, NamedTuple, final

from .._frames import Scope, is_of_script, is_own_class
from .._names import numbered


@dataclass(frozen=True, slots=True)
class HandlerScope(Scope):
    """The handlers and filters of all loggers, by the names of their classes."""

    def variables(self) -> dict[str, Any]:
        own = [each for one in _loggers() if one.handlers or one.filters for each in _of_script(one)]
        found: dict[str, Any] = {}
        for each in {id(each): each for each in own if not isinstance(each, FunctionType)}.values():
            found[numbered(type(each).__name__, found)] = each
        return found

    def put(self, name: str, value: Any) -> None:
        """Nothing: which handlers there are is the script's affair."""


def handlers() -> list[Scope]:
    """The scope, if there is something in it."""
    scope = HandlerScope("logging", None, {})
    return [scope] if scope.variables() else []


class _Settings(NamedTuple):
    """Of one logger: level and the like, and what of the script it calls."""

    plain: tuple[Any, ...]
    called: tuple[Callable[[], Any], ...]

    def difference(self, now: _Settings, name: str) -> str:
        """What is another than it was, of the logger of this name; empty if nothing is that decides anything."""
        then, there = [each() for each in self.called], [each() for each in now.called]
        if len(then) != len(there) or any(one is not other for one, other in zip(then, there, strict=True)):
            return "a handler or filter of the script was added or removed"
        is_other = self.plain != now.plain and name != logging.root.name and not _is_of_library(name)
        return "its level, or what it passes on, was changed" if is_other else ""


@final
class Loggers:
    """What has been set anew since `begin`; the levels of libraries' loggers decide nothing."""

    def __init__(self) -> None:
        self._began: dict[str, _Settings] | None = None

    def begin(self) -> None:
        """The loop begins; of another one within it nothing is to be known."""
        if self._began is None:
            self._began = {each.name: _settings_of(each) for each in _loggers()}

    def changed(self, run: str) -> dict[str, str]:
        """A sentence for each logger that is not as it was, by the name under which it can be ignored (`{run}ignore`)."""
        found: dict[str, str] = {}
        began = self._began or {}
        for each in _loggers() if began else ():
            name, now = each.name, _settings_of(each)
            before = began.get(name)
            if before == now and not now.called:  # as nearly all are
                continue
            # Of one that came later it is not known whose it is: a library's, mostly, that was imported only now.
            before = before or _Settings(now.plain, ())
            if what := before.difference(now, name):
                key = f"logging.{name}"
                found[key] = (
                    f"{key}: {what} since the loop began, and loggers are not saved: a resume has them as the script's beginning sets "
                    f"them. Set them before the loop; {run}ignore({key!r}) if it decides nothing"
                )
        return found


def _settings_of(logger: logging.Logger) -> _Settings:
    has_any = logger.handlers or logger.filters  # as few loggers have
    called = tuple(weakref.ref(each) for each in _of_script(logger)) if has_any else ()
    return _Settings((logger.level, logger.propagate, bool(logger.disabled)), called)


def _loggers() -> list[logging.Logger]:
    found = [logging.root, *list(logging.root.manager.loggerDict.values())]
    return [each for each in found if isinstance(each, logging.Logger)]


def _of_script(logger: logging.Logger) -> Iterator[Any]:
    """The handlers and filters of the script's own that a logger has, and filters of its handlers."""
    for each in [
        *logger.handlers,
        *logger.filters,
        *(one for held in logger.handlers for one in held.filters),
    ]:
        is_function = isinstance(each, FunctionType) and is_of_script(each.__code__.co_filename)
        if is_function or is_own_class(type(each)):
            yield each


def _is_of_library(name: str) -> bool:
    module = sys.modules.get(name.partition(".")[0])
    if module is None or module.__name__ == "__main__":
        return False
    file = getattr(module, "__file__", None)
    return file is None or not is_of_script(file)
