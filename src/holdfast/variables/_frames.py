"""The frames of the script on the stack, and the variables in them.

A frame is the script's if its code is neither in the standard library, nor in an installed package, nor in this one.
"""

from __future__ import annotations

import ctypes
import dis
import linecache
import os
import re
import sys
import sysconfig
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import count
from types import FrameType
from typing import Any, Final

from ..storage import absolute

MODULE: Final = "module"
"""The scope of the script's module-level variables; of another module it is followed by `:` and the module's name."""

_NO_FRAMES_OF_THEIR_OWN = frozenset({"<listcomp>", "<setcomp>", "<dictcomp>", "<genexpr>", "<lambda>"})
_PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
_LIBRARIES = tuple(
    {
        os.path.join(path, "")
        for path in (
            _PACKAGE,
            *(sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")),
        )
    }
)


@dataclass(frozen=True, slots=True)
class Scope:
    """One namespace of the script.

    Attributes:
        name: the function's qualified name, or `module`.
        frame: of the code that runs in it; None for a module whose own code is not on the stack.
    """

    name: str
    frame: FrameType | None
    namespace: dict[str, Any]  # of a module

    @property
    def is_module(self) -> bool:
        return self.name.partition(":")[0] == MODULE

    @property
    def identity(self) -> tuple[str, int]:
        """Differs between two calls of one function, as long as neither has returned."""
        return self.name, id(self.namespace if self.is_module else self.frame)

    def variables(self) -> dict[str, Any]:
        """The variables as they are now, by name; a copy."""
        if self.is_module:
            return dict(self.namespace)
        assert self.frame is not None
        return dict(self.frame.f_locals)

    def put(self, name: str, value: Any) -> None:
        """Give a variable a value, as an assignment in the scope itself would; closures see it too."""
        if self.is_module:
            self.namespace[name] = value
            return
        assert self.frame is not None
        variables = self.frame.f_locals
        variables[name] = value
        if sys.version_info < (3, 13):  # there it is a copy, which has to be written back
            ctypes.pythonapi.PyFrame_LocalsToFast(ctypes.py_object(self.frame), ctypes.c_int(0))


def scopes(until: FrameType | None = None) -> list[Scope]:
    """The scopes of the script that are on the stack: functions from the innermost outwards, then modules.

    Of a function that calls itself each call is one, numbered from the innermost outwards; so are modules of one name. With `until`, only of frames that this one has called.
    """
    functions: list[Scope] = []
    calls = Counter[str]()
    modules: dict[int, Scope] = {}
    for frame in script_frames(until):
        code = frame.f_code
        is_module = code.co_name == "<module>"
        if not is_module and code.co_name not in _NO_FRAMES_OF_THEIR_OWN:
            calls[code.co_qualname] += 1
            number = calls[code.co_qualname]
            name = code.co_qualname if number == 1 else f"{code.co_qualname} {number}"
            functions.append(Scope(name, frame, {}))
        known = modules.get(id(frame.f_globals))
        if known is None or (is_module and known.frame is None):
            name = _unlike(modules.values(), module_scope(frame.f_globals)) if known is None else known.name
            modules[id(frame.f_globals)] = Scope(name, frame if is_module else None, frame.f_globals)
    return [*functions, *modules.values()]


def _unlike(others: Iterable[Scope], name: str) -> str:
    """The name of a module's scope; numbered where a script that calls itself the main one runs another that does, too."""
    names = {each.name for each in others}
    numbered = (f"{MODULE}:{name.partition(':')[2] or '__main__'} {number}" for number in count(2))
    return name if name not in names else next(each for each in numbered if each not in names)


def script_frames(until: FrameType | None = None) -> Iterator[FrameType]:
    """The frames of the script on the stack, the innermost first; with `until`, those that this one has called."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and frame is not until:
        if is_of_script(frame.f_code.co_filename):
            yield frame
        frame = frame.f_back


def is_at_break() -> bool:
    """Whether the script is at a `break`: while an iterator is closed, that its loop is left by one, not by an error or `return`.

    False also where that cannot be told: within a `with`, or without the source.
    """
    frame = next(script_frames(), None)
    if frame is None:
        return False
    at = next(
        (each.positions for each in dis.get_instructions(frame.f_code) if each.offset == frame.f_lasti), None
    )
    if at is None or at.lineno is None or at.col_offset is None:
        return False
    line = linecache.getline(frame.f_code.co_filename, at.lineno, frame.f_globals)
    return re.match(rb"break\b", line.encode()[at.col_offset :]) is not None


def module_scope(namespace: Mapping[str, Any]) -> str:
    """The name of the scope of a module with these globals."""
    name = namespace.get("__name__", "__main__")
    return MODULE if name == "__main__" else f"{MODULE}:{name}"


@lru_cache(maxsize=4096)
def is_of_script(file: str) -> bool:
    """Whether code in this file is the user's own; what was typed into an interpreter or a notebook is, too."""
    if file.startswith("<frozen"):
        return False
    path = absolute(file)
    parts = path.split(os.sep)
    return not (path.startswith(_LIBRARIES) or "site-packages" in parts or "dist-packages" in parts)


@lru_cache(maxsize=4096)
def is_own_class(kind: type) -> bool:
    """Whether a class is defined in the user's own code."""
    module = sys.modules.get(kind.__module__)
    if kind.__module__ == "__main__":
        return True
    file = getattr(module, "__file__", None)
    if file is None:  # run by `runpy` under another name, or made up; builtins have no file either
        return module is None
    return is_of_script(file)
