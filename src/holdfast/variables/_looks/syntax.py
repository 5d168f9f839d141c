"""The syntax tree of a file of the script, and the statements around the place where a frame is."""

from __future__ import annotations

import ast
import linecache
import symtable
from collections.abc import Iterator, Sequence
from functools import lru_cache
from types import CodeType
from typing import Final

from .contexts import passing

Names = set[str]
Place = tuple[int, int]
"""A line, and a column in bytes."""

_FUNCTIONS: Final = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
_PASSES: Final = "lets every exception pass"
"""Noted at a `with` statement in its type comment, which nobody else reads."""


@lru_cache(maxsize=64)
def parsed(file: str) -> tuple[ast.Module, Names] | None:
    """The tree of a file, and the names that its functions read at module level."""
    source = "".join(linecache.getlines(file))
    if not source:
        return None
    try:
        tree, table = ast.parse(source), symtable.symtable(source, file, "exec")
    except (SyntaxError, ValueError):
        return None
    for each in passing(tree):
        each.type_comment = _PASSES
    return tree, _globals_of_functions(table)


def _globals_of_functions(table: symtable.SymbolTable) -> Names:
    found: Names = set()
    for child in table.get_children():
        found |= {symbol.get_name() for symbol in child.get_symbols() if symbol.is_global()}
        found |= _globals_of_functions(child)
    return found


def place_of(code: CodeType, instruction: int) -> Place | None:
    positions = list(code.co_positions())
    if not 0 <= instruction // 2 < len(positions):
        return None
    line, _, column, _ = positions[instruction // 2]
    return None if line is None or column is None else (line, column)


def body_of(tree: ast.Module, code: CodeType) -> Sequence[ast.stmt] | None:
    """The statements of a module or a function; None if it cannot be told which function it is."""
    if code.co_name == "<module>":
        return tree.body
    found = [
        node.body
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.name == code.co_name
        and min([node.lineno, *(each.lineno for each in node.decorator_list)]) == code.co_firstlineno
    ]
    return found[0] if len(found) == 1 else None


def around(body: Sequence[ast.stmt], place: Place) -> Iterator[tuple[Sequence[ast.stmt], int]]:
    """The statements around a place, the outermost first: each as its block and its index there."""
    for index, statement in enumerate(body):
        if covers(statement, place):
            yield body, index
            for block in blocks_of(statement):
                if any(covers(each, place) for each in block):
                    yield from around(block, place)
            return


def covers(statement: ast.stmt, place: Place) -> bool:
    end = statement.end_lineno or statement.lineno, statement.end_col_offset or 0
    first = min([statement.lineno, *(each.lineno for each in getattr(statement, "decorator_list", []))])
    start = (statement.lineno, statement.col_offset) if first == statement.lineno else (first, 0)
    return start <= place < end


def blocks_of(statement: ast.stmt) -> Iterator[Sequence[ast.stmt]]:
    if isinstance(statement, (*_FUNCTIONS, ast.ClassDef)):
        return
    for name in ("body", "orelse", "finalbody"):
        yield getattr(statement, name, [])
    for part in [*getattr(statement, "handlers", []), *getattr(statement, "cases", [])]:
        yield part.body


def may_swallow(node: ast.With | ast.AsyncWith) -> bool:
    """Whether the body may be left in its middle and what comes after it still be done."""
    return node.type_comment != _PASSES
