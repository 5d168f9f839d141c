"""Trainings that have begun and not ended as far as anybody knows: frameworks that tell no callback of an exception."""

from __future__ import annotations

import atexit
import os
import threading
from collections.abc import Callable
from contextlib import ExitStack
from typing import TypeAlias, final

from ...storage import absolute

LetGo: TypeAlias = Callable[[BaseException], None]


@final
class LeftOpen:
    """By thread and directory. What is open when the next one begins there, or the process ends, was left by an exception."""

    def __init__(self) -> None:
        self._open: dict[tuple[int, str], LetGo] = {}
        # Before threads can no more be started, which writing needs; `atexit` comes after that.
        getattr(threading, "_register_atexit", atexit.register)(self._let_go_of_all)

    def begin(self, directory: str | os.PathLike[str], let_go: LetGo, until: ExitStack) -> None:
        """A training begins, and is open until the stack is closed; `let_go` closes it with the exception that ended it."""
        place = threading.get_ident(), absolute(directory)
        if (left := self._open.pop(place, None)) is not None:
            left(_unknown())
        self._open[place] = let_go
        until.callback(self._open.pop, place, None)

    def _let_go_of_all(self) -> None:
        for left in [*self._open.values()]:
            left(_unknown())


def close_by(error: BaseException, stack: ExitStack) -> None:
    """Close a stack as a `with` block that raises `error` would; only what else is raised meanwhile is raised here."""
    try:
        stack.__exit__(type(error), error, error.__traceback__)
    except BaseException as err:
        if err is not error:
            raise


def _unknown() -> BaseException:
    return RuntimeError("the training has ended by an exception")
