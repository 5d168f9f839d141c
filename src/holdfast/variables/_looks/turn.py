"""Where in a turn of a run's loop a line of the script stands: what comes before it there, and what after it.

Told by the syntax tree. Statements that only tell (prints, logging, trackers), and conditions that compute nothing, are nothing.
"""

from __future__ import annotations

import ast
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from .._frames import script_frames
from .syntax import Place, around, body_of, may_swallow, parsed, place_of

_TELL: Final = frozenset(
    {
        *("print", "logging", "logger", "log", "LOGGER", "LOG", "warnings", "console", "tqdm", "pbar", "bar"),
        *("progress", "progress_bar", "wandb", "mlflow", "writer", "tb", "tb_writer"),
    }
)
_COMPUTE: Final = frozenset(
    {
        "len",
        "int",
        "float",
        "str",
        "repr",
        "bool",
        "round",
        "format",
        "abs",
        "min",
        "max",
        "sum",
        "item",
        "isinstance",
    }
)
_BATCHES: Final = "batches"


@dataclass(frozen=True, slots=True)
class PlaceInTurn:
    """A place in a turn.

    Attributes:
        line: where that is, for a reader.
        is_first: nothing comes before it in the turn; of a turn that has an inner loop of the run before it, nothing since that.
        is_last: nothing comes after it.
    """

    line: str
    is_first: bool
    is_last: bool


def place_in_turn(loop: str, *, is_after_batches: bool = False) -> PlaceInTurn:
    """Where the script is in its loop over `run.{loop}(…)`; where that cannot be told, something comes before it and after it.

    `is_after_batches`: the turn has gone through `run.batches(…)` already.
    """
    line, is_first, is_last = "", True, True
    for frame in script_frames():
        line = line or f"{os.path.basename(frame.f_code.co_filename)}, line {frame.f_lineno}"
        known, place = parsed(frame.f_code.co_filename), place_of(frame.f_code, frame.f_lasti)
        body = None if known is None else body_of(known[0], frame.f_code)
        if body is None or place is None:
            break
        levels = list(around(body, place))
        outer = [index for index, (block, at) in enumerate(levels) if _goes_over(block[at], loop, body)]
        if not outer:  # a function that the loop's body calls
            is_first = is_first and _is_first(levels, place)
            is_last = is_last and _is_last(levels, place, is_function=True)
            continue
        block, at = levels[outer[-1]]
        levels = levels[outer[-1] + 1 :]
        if not levels or levels[0][0] is not getattr(block[at], "body", None):
            break
        is_first = is_first and _is_first(levels, place, since=_BATCHES if is_after_batches else "")
        return PlaceInTurn(line, is_first, is_last and _is_last(levels, place))
    return PlaceInTurn(line or "a line of unknown source", is_first=False, is_last=False)


def _goes_over(statement: ast.stmt, loop: str, body: Sequence[ast.stmt]) -> bool:
    """Whether it is a loop over what `run.{loop}(…)` gives, also by a variable that was given it."""
    if not isinstance(statement, ast.For):
        return False
    if _mentions(statement.iter, loop):
        return True
    names = {each.id for each in ast.walk(statement.iter) if isinstance(each, ast.Name)}
    given = (
        each
        for one in body
        for each in ast.walk(one)
        if isinstance(each, ast.Assign) and _mentions(each.value, loop)
    )
    return any(
        isinstance(target, ast.Name) and target.id in names for each in given for target in each.targets
    )


def _mentions(node: ast.AST, loop: str) -> bool:
    return any(isinstance(each, ast.Attribute) and each.attr == loop for each in ast.walk(node))


_Levels = list[tuple[Sequence[ast.stmt], int]]


def _is_last(levels: _Levels, place: Place, *, is_function: bool = False) -> bool:
    """Whether nothing comes after the innermost of these statements, in any of the blocks around it."""
    for block, index in reversed(levels):
        statement = block[index]
        is_innermost = (block, index) == levels[-1]
        if is_innermost and is_function and isinstance(statement, ast.Return):
            return _is_call_at(statement.value, place)
        has_begun = is_innermost and isinstance(statement, ast.Expr) and _is_call_at(statement.value, place)
        if not has_begun and not _is_passed(statement, place, is_innermost=is_innermost):
            return False
        for each in block[index + 1 :]:
            if isinstance(each, ast.Continue | ast.Break):
                return True
            if _ends_process(each):
                break
            if is_function and isinstance(each, ast.Return):
                return _computes(each.value, place)
            if not _only_tells(each, place):
                return False
    return True


def _is_first(levels: _Levels, place: Place, since: str = "") -> bool:
    """Whether nothing comes before it; `since`: the last statement that mentions this, in the outermost block."""
    for depth, (block, index) in enumerate(levels):
        before = block[:index]
        if since and depth == 0:
            start = max((at + 1 for at, each in enumerate(before) if _mentions(each, since)), default=0)
            before = before[start:]
        is_passed = _is_passed(block[index], place, is_innermost=depth == len(levels) - 1)
        if not is_passed or not all(_only_tells(each, place) for each in before):
            return False
    return True


def _ends_process(statement: ast.stmt) -> bool:
    """Whether what follows is left to the next process: `sys.exit()`, or an error."""
    if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Call):
        return next(_names_of(statement.value.func), "") in ("exit", "_exit", "quit")
    return isinstance(statement, ast.Raise)


def _is_call_at(node: ast.expr | None, place: Place) -> bool:
    return isinstance(node, ast.Call) and (node.lineno, node.col_offset) == place


def _is_passed(statement: ast.stmt, place: Place, *, is_innermost: bool) -> bool:
    """Whether a statement around the place, or at it, does nothing but lead to it."""
    match statement:
        case ast.Expr():
            return is_innermost and (_computes(statement.value, place) or _only_tells(statement, place))
        case ast.If():
            return not is_innermost and _computes(statement.test, place)
        case ast.With():
            return not is_innermost and not may_swallow(statement)
        case ast.Try():
            after = [*statement.orelse, *statement.finalbody]
            return not is_innermost and all(_only_tells(each, place) for each in after)
        case _:
            return False


def _only_tells(statement: ast.stmt, place: Place) -> bool:
    match statement:
        case ast.Pass() | ast.Continue() | ast.Break():
            return True
        case _ if _ends_process(statement):
            return True
        case ast.If():
            inside = [*statement.body, *statement.orelse]
            return _computes(statement.test, place) and all(_only_tells(each, place) for each in inside)
        case ast.Expr(value=ast.Call() as call):
            given = [*call.args, *(each.value for each in call.keywords)]
            told_by = call.func.value if isinstance(call.func, ast.Attribute) else call.func
            return not _TELL.isdisjoint(_names_of(told_by)) and all(_computes(each, place) for each in given)
        case ast.Expr(value=ast.Constant()):
            return True
        case _:
            return False


def _computes(node: ast.AST | None, place: Place) -> bool:
    """Whether an expression changes nothing: it calls only what computes; the call at this place, which is being made, aside."""
    for each in () if node is None else ast.walk(node):
        if isinstance(each, ast.NamedExpr | ast.Await | ast.Yield | ast.YieldFrom):
            return False
        if isinstance(each, ast.Call) and not (
            _is_call_at(each, place) or next(_names_of(each.func), "") in _COMPUTE
        ):
            return False
    return True


def _names_of(function: Any) -> Iterator[str]:
    """The parts of `self.logger.info`, the last one first."""
    while isinstance(function, ast.Attribute):
        yield function.attr
        function = function.value
    if isinstance(function, ast.Name):
        yield function.id
