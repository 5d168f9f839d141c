"""A state tree as rows of text: name, value or type, shape, size."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from itertools import islice
from typing import Any

from ...records import PLAIN, Alias, Leaf, Node, Object, leaves
from . import as_text
from .columns import Column, Row

STATE_COLUMNS = (
    Column("name", floor=24),
    Column("value", floor=16),
    Column("shape", right=True),
    Column("size", right=True),
)
_NOT_PLAIN = (Leaf, Alias, Object, dict, list)
_MAX_NAME = 200  # every row is as wide as the longest name
_MAX_VALUE = 48  # characters of a value, or of a list of values in one row


def state_rows(tree: Node, depth: int | None, longest: int | None) -> Iterator[Row]:
    """A row for every node down to `depth` levels; of more than `longest` items in one place only the first."""
    yield from _below(tree, "  ", depth, longest)


def _below(node: Node, guide: str, depth: int | None, longest: int | None) -> Iterator[Row]:
    items = _items(node)
    shown = items if longest is None or len(items) <= longest else items[: longest - 1]
    for index, (name, value) in enumerate(shown):
        is_last = index == len(items) - 1
        yield _row(guide + ("└── " if is_last else "├── "), name, value, is_open=depth != 1)
        if depth != 1:
            deeper = None if depth is None else depth - 1
            yield from _below(value, guide + ("    " if is_last else "│   "), deeper, longest)
    if len(shown) < len(items):
        yield [(f"{guide}└── … {len(items) - len(shown):,} more", "dim"), ("", ""), ("", ""), ("", "")]


def _row(guide: str, name: Hashable, node: Node, *, is_open: bool) -> Row:
    label = guide + _shortened(
        as_text.printable(name[: _MAX_NAME + 1] if isinstance(name, str) else _value(name))
    )
    type_name = ""
    if isinstance(node, Object):
        type_name, node = as_text.printable(node.type.rpartition(".")[2]), node.state
    if isinstance(node, Leaf):
        shape = " × ".join(map(str, node.shape)) or "scalar"
        about = f"{type_name} {as_text.printable(node.dtype)}".lstrip()
        return [(label, ""), (about, "cyan"), (shape, ""), (as_text.size(node.size_bytes), "")]
    if isinstance(node, Alias):
        return [(label, ""), (f"same as {as_text.printable(node.path)}", "dim"), ("", ""), ("", "")]
    if not _items(node):
        return [(label, ""), (f"{type_name} {_value(node)}".lstrip(), ""), ("", ""), ("", "")]
    sizes = [leaf.size_bytes for leaf in leaves(node)]
    about, style = type_name, "magenta"
    if not is_open and not type_name:
        about, style = as_text.count(len(sizes) or len(_items(node)), "array" if sizes else "item"), "dim"
    return [(label, "bold"), (about, style), ("", ""), (as_text.size(sum(sizes)) if sizes else "", "dim")]


def node_text(node: Node) -> str:
    """One node of a state, in a few words on one line."""
    match node:
        case Leaf():
            shape = " × ".join(map(str, node.shape)) or "scalar"
            return f"{as_text.printable(node.dtype)} {shape}, {as_text.size(node.size_bytes)}"
        case Alias():
            return f"same as {as_text.printable(node.path)}"
        case Object():
            name = as_text.printable(node.type.rpartition(".")[2])
            return f"{name} {_value(node.state)}" if type(node.state) in PLAIN - {type(None)} else name
    return _value(node)


def _items(node: Node) -> Sequence[tuple[Hashable, Node]]:
    """What has rows of its own below `node`; a list of small values only is shown as a value."""
    while isinstance(node, Object):
        node = node.state
    if isinstance(node, dict):
        return list(node.items())
    if isinstance(node, list | tuple) and any(isinstance(item, _NOT_PLAIN) for item in node):
        return list(enumerate(node))
    return ()


def _shortened(name: str) -> str:
    return name if len(name) <= _MAX_NAME else name[: _MAX_NAME - 1] + "…"


def _value(value: Any) -> str:
    """A plain value in at most `_MAX_VALUE` characters, however large it is."""
    text = as_text.printable(_repr(value))
    return text if len(text) <= _MAX_VALUE else text[: _MAX_VALUE - 1] + "…"


def _repr(value: Any) -> str:
    match value:
        case str() | bytes():
            return repr(value[: _MAX_VALUE + 1])
        case int() if value.bit_length() > 256:  # digits take time, and Python refuses very many
            return f"an integer of {value.bit_length():,} bits"
        case None | bool() | int() | float() | complex():
            return repr(value)
        case list() | tuple() | set() | frozenset():
            left, right = "()" if isinstance(value, tuple) else "[]" if isinstance(value, list) else "{}"
            return left + ", ".join(_repr(item) for item in islice(value, _MAX_VALUE)) + right
        case dict():
            return "{}"
    return str(value)
