"""Being called where a framework has no callback: around methods of its objects, for as long as it is wanted."""

from __future__ import annotations

import functools
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any


def wrap(owner: Any, name: str, wrapper: Callable[..., Any], until: ExitStack | None = None) -> None:
    """Let `owner.name(…)` be `wrapper(original, …)`, of this object alone, until the stack is closed."""
    setattr(owner, name, functools.partial(wrapper, getattr(owner, name)))
    if until is not None:
        until.callback(delattr, owner, name)


def after(owner: Any, name: str, then: Callable[[], None], until: ExitStack) -> None:
    """Call `then` each time that `owner.name` has returned."""

    def wrapper(step: Callable[..., Any], *args: Any, **options: Any) -> Any:
        done = step(*args, **options)
        then()
        return done

    wrap(owner, name, wrapper, until)
