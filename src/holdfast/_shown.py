"""Public names: a class or function says that it lives in the package that exports it, not in a private module."""

from __future__ import annotations

from types import FunctionType


def shown_in(package: str, *named: object) -> None:
    """Let `help`, `repr`, tracebacks and pickles name these by `package`, where they can be imported from."""
    for each in named:
        if isinstance(each, type | FunctionType):
            each.__module__ = package
