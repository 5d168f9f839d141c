"""What a function that trains has made: the objects with a state of their own that its variables lead to."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import FrameType, FunctionType
from typing import Any

from ._frames import is_of_script, is_own_class, scopes, script_frames
from ._handed import Handed
from ._kinds import is_module
from ._reach import names_in
from ._shared.keyed import ByObject
from ._walk import Walk


def noticed(until: FrameType) -> dict[str, Any]:
    """The modules, optimizers, schedules and other objects with a state within reach of the frames that `until` has called.

    By the name under which the script reaches them: `model`, `trainer.optimizer`, `models.0`. Of a module's globals those
    count that the functions mention. Parts of a module that is there belong to it; data to iterate over have
    their place in the loop, and are left out.
    """
    mentioned = _mentioned(until)
    walk = Walk(Handed({}, []))
    found: dict[str, Any] = {}
    for scope in scopes(until):
        variables = scope.variables()
        if scope.is_module:
            used = mentioned.get(id(scope.namespace), {})
            variables = {name: value for name, value in variables.items() if name in used}
        for slot in walk.slots(scope, variables):
            if slot.way == "protocol" and not (_gives_items(slot.value) or isinstance(slot.value, ByObject)):
                found[f"{scope.name}.{slot.key}" if slot.key in found else slot.key] = slot.value
    return {name: value for name, value in found.items() if not _is_part(value, found)}


def _gives_items(value: Any) -> bool:
    return hasattr(type(value), "__iter__") and not is_module(value)


def _is_part(value: Any, found: Mapping[str, Any]) -> bool:
    others = (each for each in found.values() if each is not value and is_module(each))
    return is_module(value) and any(value is part for other in others for part in other.modules())


def _mentioned(until: FrameType) -> dict[int, dict[str, None]]:
    """By the id of a module's namespace: its names that the functions which run there may look up, directly or by what they call."""
    found: dict[int, dict[str, None]] = {}
    waiting = [(frame.f_code, frame.f_globals) for frame in script_frames(until)]
    seen = {code for code, _ in waiting}
    while waiting:
        code, namespace = waiting.pop()
        names = found.setdefault(id(namespace), {})
        for name in names_in(code)[0]:
            if name in namespace and name not in names:
                names[name] = None
                new = [each for each in _functions(namespace[name]) if each.__code__ not in seen]
                seen |= {each.__code__ for each in new}
                waiting += [(each.__code__, each.__globals__) for each in new]
    return found


def _functions(value: Any) -> Iterator[FunctionType]:
    """What of the script's own may be called by this name: a function, or the methods of a class or of an object's class."""
    found = [value]
    if not isinstance(value, FunctionType):
        kind = value if isinstance(value, type) else type(value)
        found = [each for base in kind.__mro__ if is_own_class(base) for each in vars(base).values()]
    for each in found:
        if isinstance(each, FunctionType) and is_of_script(each.__code__.co_filename):
            yield each
