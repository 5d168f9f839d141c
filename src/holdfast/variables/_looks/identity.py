"""Which object a variable names, where that is no data: a loss function, a policy, one of several models.

Such a variable may name another object than when the loop began. What can be saved then is a name that leads to that
object: where else the loop's variables held it when the loop began, or its own name in a module. A name in a file has nothing
imported, and leads only to code of the user's own modules, and to that of the package which the variable's first object is from.
"""

from __future__ import annotations

import sys
import weakref
from collections.abc import Hashable, Mapping
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType
from typing import Any, Final

from .._frames import is_of_script, is_own_class
from .._kinds import CONTAINERS, has_own_attributes, is_ignored, is_iterator
from .._made.structure import structure_of
from .code import is_code
from .memory_streams import is_memory_stream

_METHOD: Final = "method:"
_PLAIN_LIBRARIES: Final = frozenset({"cmath", "math", "operator"})
"""Of the standard library, these do nothing but compute."""


class Referent:
    """The object that a variable named; what is no code is not kept alive.

    Attributes:
        structure: how it is built (`_made.structure`).
    """

    def __init__(self, value: Any, structure: Hashable = None) -> None:
        self._kind, self.structure = _name_of(type(value)), structure
        self._get = lambda: value
        if not is_code(value):
            try:
                self._get = weakref.ref(value)
            except TypeError:
                return

    def get(self) -> Any:
        """The object; None if it is gone."""
        return self._get()

    def is_like(self, now: Any) -> bool:
        """Whether `now` does the same, or differs only in what it keeps, which is looked at on its own."""
        if self._kind != _name_of(type(now)):
            return False
        before = self.get()
        return not is_code(now) or before is now or (before is not None and _is_same_code(before, now))

    def fits(self, now: Any) -> bool:
        """Whether the state of `now` can be put into the object."""
        return self.structure is None or self.structure == structure_of(now)


def is_named(value: Any) -> bool:
    """Whether it matters which object this is."""
    is_in_sight = has_own_attributes(value) or is_memory_stream(value)
    if isinstance(value, ModuleType) or (is_iterator(value) and not is_in_sight):
        return False
    return is_code(value) or not is_ignored(value)


def is_told_by_looks(value: Any) -> bool:
    """Whether its content tells already that it is another one."""
    return isinstance(value, CONTAINERS) or not (is_code(value) or hasattr(value, "__dict__"))


def name_of(value: Any, like: Any) -> str | None:
    """The name that leads to this code from a module, as `module:name`; None if there is none."""
    if not is_code(value):
        return None
    module, name = getattr(value, "__module__", None), getattr(value, "__qualname__", "")
    names = [f"{module}:{name}"] if isinstance(module, str) else []
    short = getattr(value, "__name__", "")
    if not is_own_class(value) if isinstance(value, type) else not isinstance(value, FunctionType):
        holding = [each for each, held in list(sys.modules.items()) if _vars(held).get(short) is value]
        names += [f"{each}:{short}" for each in sorted(holding, key=len)]
    return next((each for each in names if find(each, like) is value), None)


def method_name(method: MethodType, place: str) -> str | None:
    """The name of a method of the object at this place; None if its class does not lead to it."""
    name = method.__func__.__name__
    found = _of_class(method.__self__, name)
    return f"{_METHOD}{name}:{place}" if found is not None and found is method.__func__ else None


def place_of_method(name: str) -> tuple[str, str] | None:
    """The method's own name, and the place of its object; None if this is no name of a method."""
    if not name.startswith(_METHOD):
        return None
    method, _, place = name.removeprefix(_METHOD).partition(":")
    return None if place.startswith(_METHOD) else (method, place)


def method_of(owner: Any, name: str) -> MethodType | None:
    """The method of this name of an object; None if no class of the script's own has it."""
    found = _of_class(owner, name)
    return None if found is None else MethodType(found, owner)


def _of_class(owner: Any, name: str) -> FunctionType | None:
    found = next((vars(each)[name] for each in type(owner).__mro__ if name in vars(each)), None)
    return found if isinstance(found, FunctionType) and _is_own_code(found) else None


def find(name: str, like: Any) -> Any:
    """The code that a name leads to, in place of `like`; None if there is none, or it may not be looked for."""
    module, _, path = name.partition(":")
    held = sys.modules.get(module)
    package = module.partition(".")[0]
    is_own = held is not None and _is_own(held)
    if not is_own:
        is_plain = package in _PLAIN_LIBRARIES or package not in sys.stdlib_module_names
        if not is_plain or package not in _packages_of(like):
            return None
    first, *inside = path.split(".")
    found: Any = _vars(held).get(first)
    for part in inside:
        found = _vars(found).get(part) if isinstance(found, type) else None
    if not is_code(found):
        return None
    # A module also holds what it has imported from others.
    is_its_own = (
        _is_own_code(found)
        if is_own
        else getattr(found, "__module__", None) is None or _packages_of(found) & {package}
    )
    return found if is_its_own else None


def sentence(key: str, value: Any, *, to_ignore: str) -> str:
    """That another object is there now, and what to do."""
    noun = "class" if isinstance(value, type) else "function" if is_code(value) else "object"
    shown = getattr(value, "__qualname__", type(value).__qualname__)
    return (
        f"{key} is another {noun} now ({shown}), and no name leads to it: a resume starts with the first one. Define it "
        f"before the loop, in a variable of its own, or choose it by a number that is saved; run.ignore({to_ignore!r}) if it decides nothing"
    )


def _is_same_code(before: Any, now: Any) -> bool:
    match before, now:
        case FunctionType(), FunctionType():
            return before.__code__ is now.__code__
        case MethodType(), MethodType():
            return _is_same_code(before.__func__, now.__func__)
        case type(), type():
            return _name_of(before) == _name_of(now)
        case BuiltinFunctionType(), BuiltinFunctionType():
            return (before.__module__, before.__qualname__) == (now.__module__, now.__qualname__)
        case _:
            return True  # what they were made with is looked at on its own


def _name_of(kind: type) -> tuple[str, str]:
    return kind.__module__, kind.__qualname__


def _vars(value: Any) -> Mapping[str, Any]:
    return getattr(value, "__dict__", {}) if isinstance(value, ModuleType | type) else {}


def _is_own(module: ModuleType) -> bool:
    file = getattr(module, "__file__", None)
    return module.__name__ == "__main__" if file is None else is_of_script(file)


def _is_own_code(value: Any) -> bool:
    if isinstance(value, type):
        return is_own_class(value)
    return isinstance(value, FunctionType) and is_of_script(value.__code__.co_filename)


def _packages_of(like: Any) -> set[str]:
    """The packages that code is from; of a built-in function those that have it."""
    module = getattr(like, "__module__", None)
    if isinstance(module, str):
        return {module.partition(".")[0].removeprefix("_")} | {module.partition(".")[0]}
    short = getattr(like, "__name__", "")
    holding = (each for each, held in list(sys.modules.items()) if _vars(held).get(short) is like)
    return {each.partition(".")[0] for each in holding} if is_code(like) else set()
