"""Public names: a class or function says that it lives in the package that exports it, not in a private module."""

from __future__ import annotations

import sys
from types import FunctionType


def shown_in(package: str, *named: object) -> None:
    """Let `help`, `repr`, tracebacks and pickles name these by `package`, where they can be imported from.

    What `holdfast` itself exports from this package is named by `holdfast`, whether it has been used there or not.
    """
    root, _, room = package.partition(".")
    exported = sys.modules[root].__dict__["_HOMES"].get(room, ())
    for each in named:
        if isinstance(each, type | FunctionType) and each.__module__.startswith(f"{package}."):
            each.__module__ = root if each.__name__ in exported else package
