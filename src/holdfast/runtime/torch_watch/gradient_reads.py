"""Whether a script reads gradients by itself before its next backward pass: those may be of the update before."""

from __future__ import annotations

import dis
import sys
from collections.abc import Iterator, Mapping
from types import CodeType, FrameType, FunctionType
from typing import Any, Final

from torch.optim import Optimizer

from ...variables import is_of_script, is_own_class

_OTHER_GRADS: Final = {"autograd", "func", "jax"}  # whose `grad` is a function
_FRESH: Final = frozenset(
    {
        *("on_after_backward", "on_before_optimizer_step", "on_before_zero_grad"),
        *("optimizer_step", "configure_gradient_clipping"),
    }
)
"""Hooks that frameworks call between a backward pass and the end of its update."""


def script_reads_gradients() -> bool:
    """Whether the script that is on the stack does, in its own functions and classes; those of an optimizer are its step.

    A function that reads them counts if it is on the stack, or is a method that a framework calls, for nothing in the
    script does; else its callers count in its place, unless they call it after a backward pass.
    """
    running, methods, codes = _script()
    loaded = {name for code in codes for name in code.co_names}
    readers = {"grad"}
    while True:
        found = {code for code in codes if _reads_before_backward(code, readers)}
        names = {code.co_name for code in found} - _FRESH
        if names <= readers:
            break
        readers |= names
    return any(code in running or (code in methods and code.co_name not in loaded | _FRESH) for code in found)


def _script() -> tuple[set[CodeType], set[CodeType], set[CodeType]]:
    """The code of the script on the stack, that of methods, and all that lies in its modules."""
    running, modules = set[CodeType](), dict[int, Mapping[str, Any]]()
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        if is_of_script(frame.f_code.co_filename):
            running.add(frame.f_code)
            modules[id(frame.f_globals)] = frame.f_globals
        frame = frame.f_back
    values = [each for module in modules.values() for each in [*module.values()]]
    methods = {code for each in values if isinstance(each, type) for code in _methods(each)}
    functions = {
        each.__code__
        for each in values
        if isinstance(each, FunctionType) and is_of_script(each.__code__.co_filename)
    }
    codes = {nested for code in running | methods | functions for nested in _with_nested(code)}
    return running, methods, codes


def _methods(kind: type) -> Iterator[CodeType]:
    if is_own_class(kind) and not issubclass(kind, Optimizer):
        for member in vars(kind).values():
            for each in (member, *(getattr(member, name, None) for name in ("__func__", "fget"))):
                if isinstance(each, FunctionType):
                    yield each.__code__


def _with_nested(code: CodeType) -> Iterator[CodeType]:
    yield code
    for each in code.co_consts:
        if isinstance(each, CodeType):
            yield from _with_nested(each)


def _reads_before_backward(code: CodeType, readers: set[str]) -> bool:
    """Whether it loads one of these names, and no `backward` has come before."""
    if readers.isdisjoint(code.co_names):
        return False
    before: object = None
    for step in dis.get_instructions(code):
        if step.opname.startswith("LOAD_") and isinstance(step.argval, str):
            if step.argval.endswith("backward"):
                return False
            is_gradient = step.opname in ("LOAD_ATTR", "LOAD_METHOD") and before not in _OTHER_GRADS
            if step.argval in readers and (step.argval != "grad" or is_gradient):
                return True
        before = step.argval
    return False
