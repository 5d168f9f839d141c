"""The library with one guard taken out: the real modules, compiled again with a few characters changed."""

from __future__ import annotations

import ast
import contextlib
import importlib
import inspect
import re
import types
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property


@dataclass(frozen=True, slots=True)
class Mutant:
    """`module` of `holdfast` with `old`, which stands there at `at` (or once), replaced by `new`."""

    name: str
    module: str
    old: str
    new: str
    at: int | None = None

    def source(self) -> str:
        source = inspect.getsource(importlib.import_module(self.module))
        at = self.at
        if at is None:
            assert source.count(self.old) == 1, f"{self.name}: the code has changed, so has this test to"
            at = source.index(self.old)
        assert source[at:].startswith(self.old)
        return source[:at] + self.new + source[at + len(self.old) :]


@contextlib.contextmanager
def at_work(mutant: Mutant) -> Iterator[None]:
    """Whoever calls a function of the module meanwhile, from wherever, gets the mutant's."""
    module = importlib.import_module(mutant.module)
    changed = types.ModuleType(module.__name__)
    changed.__dict__.update(__package__=module.__package__, __file__=module.__file__)
    exec(compile(mutant.source(), str(module.__file__), "exec"), changed.__dict__)
    new = dict(_functions(changed, changed.__file__))
    swapped = []
    try:
        for name, function in _functions(module, changed.__file__):
            swapped.append((function, function.__code__))
            function.__code__ = new[name].__code__
        assert any(before != function.__code__ for function, before in swapped), f"{mutant.name}: not at work"
        yield
    finally:
        for function, code in swapped:
            function.__code__ = code


def _functions(holder: types.ModuleType | type, file: str | None) -> Iterator[tuple[str, types.FunctionType]]:
    """Those that are written in `file`: a public class says another module than the one that it stands in."""
    for name, value in vars(holder).items():
        if isinstance(value, type) and name == value.__name__:
            for below, function in _functions(value, file):
                yield f"{name}.{below}", function
            continue
        if isinstance(value, property):
            value = value.fget
        elif isinstance(value, cached_property):
            value = value.func
        value = inspect.unwrap(value) if callable(value) else value
        if isinstance(value, types.FunctionType) and value.__code__.co_filename == file:
            yield name, value


def without_each_sync(module: str) -> Iterator[Mutant]:
    """One for every call that makes something durable."""
    for node, text, at in _nodes(module):
        if isinstance(node, ast.Expr) and re.match(r"[\w.]*sync(_\w+)?\(", text):
            yield Mutant(f"{_where(module, node)} without {text}", module, text, "pass", at)


def without_each_check(module: str, about: str) -> Iterator[Mutant]:
    """One for every refusal whose condition speaks of `about`."""
    for node, _, _ in _nodes(module):
        if isinstance(node, ast.If) and isinstance(node.body[-1], ast.Raise):
            condition = ast.unparse(node.test)
            if re.search(about, condition):
                text, at = _text(module, node.test)
                yield Mutant(f"{_where(module, node)} without `if {condition}`", module, text, "False", at)


def _nodes(module: str) -> Iterator[tuple[ast.stmt, str, int]]:
    tree = ast.parse(inspect.getsource(importlib.import_module(module)))
    for function in ast.walk(tree):
        for node in ast.walk(function) if isinstance(function, ast.FunctionDef) else ():
            if isinstance(node, ast.stmt) and not isinstance(node, ast.FunctionDef):
                node.function = function.name  # type: ignore[attr-defined]
                yield node, *_text(module, node)


def _text(module: str, node: ast.stmt | ast.expr) -> tuple[str, int]:
    source = inspect.getsource(importlib.import_module(module))
    text = ast.get_source_segment(source, node) or ""
    lines = source.splitlines(keepends=True)
    at = sum(map(len, lines[: node.lineno - 1]))
    # Columns count bytes.
    return text, at + len(lines[node.lineno - 1].encode()[: node.col_offset].decode())


def _where(module: str, node: ast.stmt) -> str:
    return f"{module.rpartition('.')[2]}.{node.function}"  # type: ignore[attr-defined]
