"""Who holds an object that no variable of the script is."""

from __future__ import annotations

import gc
from collections.abc import Collection
from typing import Any

from ._frames import is_own_class


def is_held(value: Any, variables: Collection[int]) -> bool:
    """Whether an object of the script's own classes has it, or a container that is one of these variables, by id."""
    for holder in gc.get_referrers(value):
        if is_own_class(type(holder)):
            return True
        if isinstance(holder, dict | list | tuple | set) and (id(holder) in variables or _is_owned(holder)):
            return True
    return False


def _is_owned(container: Any) -> bool:
    """Whether it is the attributes, or an attribute, of an object of the script's own classes."""
    return any(
        is_own_class(type(each))
        or (type(each) is dict and any(is_own_class(type(owner)) for owner in gc.get_referrers(each)))
        for each in gc.get_referrers(container)
    )
