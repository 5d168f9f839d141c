"""The static parts of pytrees: functions, and what their class keeps beside its children.

What of them is plain data is saved, and restored; functions and all else stay those of the live object.
"""

from __future__ import annotations

import enum
import functools
import types
from collections.abc import Hashable
from pathlib import Path
from typing import Any, Final

import jax
import numpy as np

from .... import paths
from ...._wording import a
from ....records import Node, Object
from ..._fit import Fit, Make, Others, said
from ..._kinds import type_name
from ..._registry import Claimant
from ..._walk import Walk

_NAME: Final = "jax.static"
_SCALARS: Final = frozenset({type(None), bool, int, float, complex, str, bytes})
_HAVE_ADAPTERS: Final = (np.ndarray, np.generic, jax.Array, enum.Enum, Path)
_CODE: Final = (
    type,
    types.FunctionType,
    types.BuiltinFunctionType,
    types.MethodType,
    types.MethodWrapperType,
    types.MethodDescriptorType,
    functools.partial,
    np.ufunc,
)
_LIBRARIES: Final = ("jax", "jaxlib")  # whose functions are objects of their own making


class StaticLeaves:
    """Within a pytree: takes what no adapter knows if it is code, which has no state to be saved."""

    name = _NAME

    def __init__(self) -> None:
        self.before: Claimant | None = None
        """What took such values around this pytree."""

    def claims(self, kind: type) -> bool:
        return True

    def capture(self, value: Any, walk: Walk, path: str) -> Node:
        if _is_code(value):
            return _marker(value)
        if self.before is None:
            walk.refuse(path, type_name(type(value)))
        return self.before.capture(value, walk, path)

    def plan(self, live: Any, node: Node, fit: Fit, path: str) -> Make:
        if _is_code(live):
            if is_static(node):
                return fit.keep(live)
            return fit.misfit(live, path, f"{said(node)} was saved, the live value is {_said_live(live)}")
        if self.before is None:
            what = f"the live object is {_said_live(live)}, for which there is no adapter"
            return fit.misfit(live, path, what)
        return self.before.plan(live, node, fit, path)

    def renews(self, live: Any, node: Node) -> bool:
        before: Others | None = self.before  # type: ignore[assignment]
        return before is not None and not is_static(node) and not _is_code(live) and before.renews(live, node)


def is_static(node: Node) -> bool:
    """Whether a value was not saved because the script makes it."""
    return isinstance(node, Object) and node.adapter == _NAME


def static_node(value: Any, walk: Walk | None = None, path: str = "") -> Node:
    """The state of a static part: its plain data, and with a `walk` its arrays and Enums."""
    if type(value) in _SCALARS:
        return value if walk is None else walk.node(value, path)  # which knows what is left out
    if type(value) in (tuple, list):
        return type(value)(
            static_node(each, walk, paths.item(path, index)) for index, each in enumerate(value)
        )
    if type(value) is dict and all(type(key) is str for key in value):
        return {key: static_node(each, walk, paths.child(path, key)) for key, each in value.items()}
    if walk is not None and isinstance(value, _HAVE_ADAPTERS):
        return walk.node(value, path)
    return _marker(value)


def has_data(node: Node) -> bool:
    """Whether a static part holds anything that was saved."""
    if isinstance(node, tuple | list):
        return any(map(has_data, node))
    if isinstance(node, dict):
        return any(map(has_data, node.values()))
    return node is not None and not is_static(node)


def plan_static(live: Any, node: Node, fit: Fit, path: str) -> Make:
    """Plan what a static part becomes: the saved data, and everything else as it is."""
    if is_static(node):
        if is_static(static_node(live)):
            return fit.keep(live)
        return fit.misfit(live, path, f"{said(node)} was saved, the live value is {said(live)}")
    if type(live) in (tuple, list) and type(node) is type(live) and len(live) == len(node):
        pairs = enumerate(zip(live, node, strict=True))
        makes = [plan_static(one, saved, fit, paths.item(path, index)) for index, (one, saved) in pairs]
        return lambda: type(live)(make() for make in makes)
    if type(live) is dict and isinstance(node, dict) and live.keys() == node.keys():
        by_key: dict[Hashable, Make] = {
            key: plan_static(live[key], node[key], fit, paths.child(path, key)) for key in live
        }
        return lambda: {key: make() for key, make in by_key.items()}
    return fit.into(live, node, path)


def _marker(value: Any) -> Object:
    return Object(_NAME, type_name(type(value)), None)


def _is_code(value: Any) -> bool:
    return isinstance(value, _CODE) or (
        callable(value) and type(value).__module__.partition(".")[0] in _LIBRARIES
    )


def _said_live(value: Any) -> str:
    return a(type_name(type(value)))
