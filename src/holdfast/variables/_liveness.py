"""Which variables can still be read: from the source's syntax tree, at the place where a frame is.

What is surely written before it is read in all that may come next is no part of the run's state: the loss of the last
turn, the batch before. Where the source cannot be had, or reads its variables in ways that no syntax shows, all count.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Sequence
from functools import lru_cache
from types import CodeType, FrameType
from typing import Any, Final

from ._looks.syntax import Names, Place, around, blocks_of, body_of, covers, may_swallow, parsed, place_of

_DYNAMIC: Final = frozenset({"locals", "globals", "eval", "exec"})
_FUNCTIONS: Final = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
_COMPREHENSIONS: Final = (ast.ListComp, ast.SetComp, ast.GeneratorExp, ast.DictComp)
_QUERIES: Final = frozenset({"query", "eval", "evaluate"})
_NAME: Final = re.compile(r"[^\W\d]\w*")
_LOOPS: Final = (ast.For, ast.AsyncFor, ast.While)


class _Every(frozenset[str]):
    def __contains__(self, name: object) -> bool:
        return True


EVERY: Final = _Every()
"""All names, those of variables that are made later, too: for code that looks them up by text."""


def live_names(frame: FrameType) -> frozenset[str] | None:
    """The names that what comes after this point of the frame may read before it writes them; None: it cannot be told."""
    return _live_at(frame.f_code, frame.f_lasti)


@lru_cache(maxsize=256)
def _live_at(code: CodeType, instruction: int) -> frozenset[str] | None:
    known, place = parsed(code.co_filename), place_of(code, instruction)
    if known is None or place is None:
        return None
    tree, read_in_functions = known
    body = body_of(tree, code)
    if body is None:
        return None
    live = _live_in(body, place)
    if code.co_name == "<module>":
        live |= read_in_functions
    if live & _DYNAMIC:
        return EVERY
    return frozenset(live | {*code.co_cellvars, *code.co_freevars})


def written_names(frame: FrameType | None) -> frozenset[str]:
    """The names that have surely been written on the way to this point of the frame; all, where that cannot be told.

    `None` stands for a module whose own code is not on the stack: what functions write there may be of any time.
    """
    return frozenset() if frame is None else _written_at(frame.f_code, frame.f_lasti)


@lru_cache(maxsize=256)
def _written_at(code: CodeType, instruction: int) -> frozenset[str]:
    known, place = parsed(code.co_filename), place_of(code, instruction)
    body = None if known is None else body_of(known[0], code)
    if body is None or place is None:
        return EVERY
    written: Names = set()
    for block, index in around(body, place):
        _visit(block[:index], written, set())
        match block[index]:
            case ast.For(target=target, body=inside) | ast.AsyncFor(target=target, body=inside):
                if any(covers(each, place) for each in inside):
                    _visit(target, written, set())
            case ast.With(items=items) | ast.AsyncWith(items=items):
                _visit([each.optional_vars for each in items], written, set())
    return frozenset(written)


def _live_in(body: Sequence[ast.stmt], place: Place) -> Names:
    """What may be read from this place on: of the blocks around it, from the outermost inwards."""
    live: Names = set()
    at_any_time: Names = set()  # what may be read as soon as anything fails
    for block, index in around(body, place):
        statement = block[index]
        live = _before(block[index + 1 :], live)  # after the statement
        match statement:
            case ast.For() | ast.AsyncFor():  # what it goes over is evaluated once
                live = live | _reads([statement.target, statement.body, statement.orelse])
            case ast.While():
                live = live | _reads(statement)
            case ast.Try() | ast.TryStar():
                at_any_time |= _reads([statement.handlers, statement.finalbody])
                at_any_time |= live if statement.handlers else set()
                live = live | _reads([statement.orelse, statement.finalbody])
            case ast.With() | ast.AsyncWith() if may_swallow(statement):
                at_any_time |= live
        if not _is_inside_a_block(statement, place) and not isinstance(statement, _LOOPS):
            live = _before([statement], live)  # `x = train(run)` writes x when the call is over
    return live | at_any_time


def _is_inside_a_block(statement: ast.stmt, place: Place) -> bool:
    return any(covers(each, place) for block in blocks_of(statement) for each in block)


def _before(statements: Sequence[ast.stmt], after: Names) -> Names:
    """What may be read before these statements, if `after` may be read after them."""
    first = next((index for index, each in enumerate(statements) if _may_leave(each)), len(statements))
    written: Names = set()
    read: Names = set()
    _visit(statements[:first], written, read)
    surely = set(written)
    _visit(statements[first:], written, read)
    return read | (after - surely)


def _may_leave(statement: ast.stmt) -> bool:
    """Whether what stands after it in its block may be passed over, and the function continue elsewhere."""
    if isinstance(statement, ast.Continue | ast.Break | ast.Raise | ast.Return | ast.Assert):
        return True
    return any(_may_leave(each) for block in blocks_of(statement) for each in block)


def _reads(nodes: Any) -> Names:
    read: Names = set()
    _visit(nodes, set(), read)
    return read


def _visit(node: Any, written: Names, read: Names) -> None:
    """Go through a node as it would be executed; what may be skipped adds nothing to `written`."""
    match node:
        case None:
            return
        case list() | tuple():
            for each in node:
                _visit(each, written, read)
        case ast.Name():
            if isinstance(node.ctx, ast.Store):
                written.add(node.id)
            elif node.id not in written:
                read.add(node.id)
        case ast.Assign():
            _visit([node.value, node.targets], written, read)
        case ast.AnnAssign():
            _visit([node.value, node.target] if node.value else None, written, read)
        case ast.AugAssign():
            _visit(node.value, written, read)
            if isinstance(node.target, ast.Name):
                _visit(ast.Name(node.target.id, ast.Load()), written, read)
                written.add(node.target.id)
            else:
                _visit(node.target, written, read)
        case ast.NamedExpr():
            _visit(
                node.value, written, read
            )  # it may stand where it is skipped, so it does not count as written
        case ast.If():
            _visit(node.test, written, read)
            branches = [set(written), set(written)]
            _visit(node.body, branches[0], read)
            _visit(node.orelse, branches[1], read)
            written |= branches[0] & branches[1]
        case ast.For() | ast.AsyncFor():
            _visit(node.iter, written, read)
            inside = set(written)
            _visit([node.target, node.body], inside, read)
            _visit(node.orelse, set(written), read)
        case ast.While():
            _visit(node.test, written, read)
            _visit(node.body, set(written), read)
            _visit(node.orelse, set(written), read)
        case ast.Try() | ast.TryStar():
            inside = set(written)
            _visit(node.body, inside, read)
            for handler in node.handlers:
                _visit(handler.body, set(written), read)
                _visit(handler.type, set(written), read)
            _visit(node.orelse, set(inside), read)
            if not node.handlers:
                written |= inside
            _visit(node.finalbody, written, read)
        case ast.With() | ast.AsyncWith():
            _visit([(item.context_expr, item.optional_vars) for item in node.items], written, read)
            _visit(node.body, set(written) if may_swallow(node) else written, read)
        case ast.Match():
            _visit(node.subject, written, read)
            for case in node.cases:
                inside = written | {
                    name for part in ast.walk(case.pattern) if (name := getattr(part, "name", None))
                }
                _visit([case.guard, case.body], inside, read)
        case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.Lambda() | ast.ClassDef():
            read |= {
                each.id
                for each in ast.walk(node)
                if isinstance(each, ast.Name) and isinstance(each.ctx, ast.Load) and each.id not in written
            }
            if not isinstance(node, ast.Lambda):
                written.add(node.name)
        case ast.ListComp() | ast.SetComp() | ast.GeneratorExp() | ast.DictComp():
            inside = set(written)
            for generator in node.generators:
                _visit([generator.iter, generator.target, generator.ifs], inside, read)
            _visit([getattr(node, part, None) for part in ("key", "value", "elt")], inside, read)
        case ast.Import() | ast.ImportFrom():
            written |= {(each.asname or each.name).partition(".")[0] for each in node.names}
        case ast.Call(func=ast.Attribute(attr=attr)) if attr in _QUERIES:
            read |= _names_in_text(node) - written
            _visit([node.func, node.args, node.keywords], written, read)
        case ast.AST():
            for each in ast.iter_child_nodes(node):
                _visit(each, written, read)


def _names_in_text(call: ast.Call) -> Names:
    """What a query reads by text, as pandas does: `table.query("loss > @limit")`."""
    texts = [
        each.value for each in call.args if isinstance(each, ast.Constant) and isinstance(each.value, str)
    ]
    return {name for text in texts for name in _NAME.findall(text)}
