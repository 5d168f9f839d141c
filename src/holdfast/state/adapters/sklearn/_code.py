"""Functions and classes in the parameters of an estimator, and what is composed of them.

Code is in no state. What the tables know is made again; the rest is the live estimator's own, which must hold something
of the same name in the same place.
"""

from __future__ import annotations

import types
from functools import partial
from typing import Any

import numpy as np
from numpy.random import mtrand

from ....records import Object
from ..._kinds import bare_name
from ._scipy import FAMILY, FROZEN

FUNCTIONS = (
    types.FunctionType,
    types.BuiltinFunctionType,
    np.ufunc,
    type(np.mean),
    type(np.ndarray.sum),
    type(np.vectorize.__call__),
)
_METHOD = types.MethodType


def is_code(value: Any) -> bool:
    """Whether it is a function or class, or a family of distributions: nothing of it changes while a program runs."""
    return isinstance(value, (*FUNCTIONS, type, FAMILY)) or (
        isinstance(value, _METHOD) and isinstance(value.__self__, type)
    )


def name_of(value: Any) -> str:
    """Its module and name, for people and for comparing."""
    own = (
        value.name if isinstance(value, FAMILY) else getattr(value, "__qualname__", type(value).__qualname__)
    )
    return f"{getattr(value, '__module__', None) or 'builtins'}.{own}"


def taken_live(value: Any) -> Object:
    """The state of code that only the live estimator has: its name."""
    name = name_of(value)
    return Object("sklearn.live", name, bare_name(name))


def parts_of(value: Any) -> tuple[str, str, dict[str, Any]] | None:
    """The adapter, type and parts of what is composed of code and arguments; None if it is not."""
    if isinstance(value, partial):
        parts = {"func": value.func, "args": value.args, "keywords": value.keywords}
        return "sklearn.partial", "functools.partial", parts
    if isinstance(value, FROZEN):
        own = None if value.random_state is mtrand._rand else value.random_state  # type: ignore[attr-defined]
        arguments = {"arguments": value.args, "keywords": value.kwds}
        return (
            "sklearn.distribution",
            "scipy.stats.rv_frozen",
            {"family": value.dist, **arguments, "random_state": own},
        )
    if isinstance(value, _METHOD) and not isinstance(value.__self__, type):
        return "sklearn.method", name_of(value), {"name": value.__func__.__name__, "self": value.__self__}
    return None


def make_partial(parts: dict[str, Any], taken: Object) -> Any:
    """Its function is one of the tables, or one that the live estimator holds: a state can name no other."""
    if not isinstance(parts["func"], FUNCTIONS):
        raise ValueError(f"{parts['func']!r} is not a function")
    return partial(parts["func"], *parts["args"], **parts["keywords"])
