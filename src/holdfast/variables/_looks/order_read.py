"""Whether the script reads the order of what it calls by some name: it goes over it, takes one of it, or gives it to somebody.

Told by the syntax trees of the script's files, as of a set that is only asked what is in it no order decides anything.
"""

from __future__ import annotations

import ast
from functools import lru_cache
from typing import Final

from .._frames import script_frames
from .._other_modules import other_modules
from .syntax import parsed

_READ_ORDER: Final = frozenset(
    {"pop", "copy", "union", "intersection", "difference", "symmetric_difference", "__iter__"}
)
_TELL_NO_ORDER: Final = frozenset({"len", "sorted", "min", "max", "bool", "any", "all"})


def is_order_read(key: str) -> bool:
    """Of the variable or attribute of this key; True where the script does not mention it, so that nothing is known."""
    names = [part for part in key.split(".") if part.isidentifier()]
    files = {frame.f_code.co_filename for frame in script_frames()}
    files |= {str(each["__file__"]) for each in other_modules(()).values() if each.get("__file__")}
    uses = [_uses(file).get(names[-1] if names else "") for file in files]
    known = [each for each in uses if each is not None]
    return not known or any(known)


@lru_cache(maxsize=128)
def _uses(file: str) -> dict[str, bool]:
    """By name, whether one of its uses reads an order."""
    known = parsed(file)
    found: dict[str, bool] = {}
    if known is None:
        return found
    parents = {child: node for node in ast.walk(known[0]) for child in ast.iter_child_nodes(node)}
    for node in ast.walk(known[0]):
        match node:
            case ast.Name(id=name, ctx=ast.Load()) | ast.Attribute(attr=name, ctx=ast.Load()):
                found[name] = found.get(name, False) or _reads(node, parents)
            case _:
                continue
    return found


def _reads(node: ast.AST, parents: dict[ast.AST, ast.AST]) -> bool:
    parent = parents.get(node)
    match parent:
        case ast.Attribute(attr=attribute):
            return attribute in _READ_ORDER
        case ast.Compare() | ast.Expr() | ast.Assert():
            return False
        case ast.Call(func=function, keywords=keywords):
            tells_none = isinstance(function, ast.Name) and function.id in _TELL_NO_ORDER
            return node is not function and not (tells_none and not keywords)  # by a key, the first of equals
        case ast.If() | ast.While():
            return False
        case ast.IfExp() if node is parent.test:
            return False
        case ast.Subscript() if node is parent.slice:
            return False
        case ast.Subscript() | ast.IfExp() | ast.BoolOp():
            return _reads(parent, parents)
        case ast.UnaryOp():
            return False
        case _:
            return True
