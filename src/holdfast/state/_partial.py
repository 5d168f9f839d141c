"""A part of a state under other names: what a new model takes from another model's checkpoint."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import replace

from .. import paths
from ..errors import UsageError
from ..records import Node, Object
from ._exclude import left_out
from ._kinds import type_name
from ._tree import children, entries

_MODULE = "torch.nn.Module"
_Moved = tuple[str, Node, Node]
"""The new path, what goes there, and what held it before."""


def renamed(tree: Node, rename: Mapping[str, str]) -> Node:
    """`tree` with what is at each path of `rename` (and below it) moved to the new path.

    A path may end within an element, at a dot: a module's entries are called `encoder.0.weight`. Nothing is read
    or copied.

    Raises:
        UsageError: there is nothing at one of the paths, or something at the new one.
    """
    moved: list[_Moved] = []
    rest = _without(tree, "", dict(sorted(rename.items(), key=lambda pair: -len(pair[0]))), moved)
    for old, new in rename.items():
        if not old or not new:
            raise UsageError("rename: the state itself has no name; name what is in it")
        if not any(_is_at(path, old) for path, _ in entries(tree)):
            raise UsageError(f"rename: the checkpoint has nothing at {old!r}")
    for path, node, holder in moved:
        rest = _with(rest, "", path, node, holder)
    return rest


def selected(tree: Node, only: Sequence[str]) -> tuple[Node, Callable[[str], bool]]:
    """`tree` without what no pattern of `only` matches, and a test of whether a path matches or leads to one that does.

    Raises:
        UsageError: nothing matches.
    """
    above: set[str] = {""}

    def pruned(node: Node, path: str) -> Node:
        if path and any(paths.matches(path, pattern) for pattern in only):
            above.update(_above(path))
            return without_modes(node)
        kept = {key: pruned(value, below) for key, (below, value) in _keyed(node, path)}
        if path not in above:
            kind = node.type if isinstance(node, Object) else type_name(type(node))
            return left_out(kind)
        return _without_mode(_refilled(node, kept))

    def is_meant(path: str) -> bool:
        return path in above or any(paths.matches(path, pattern) for pattern in only)

    chosen = {key: pruned(value, below) for key, (below, value) in _keyed(tree, "")}
    if above == {""}:
        raise UsageError(f"only: the checkpoint has nothing that matches {', '.join(map(repr, only))}")
    return _refilled(tree, chosen), is_meant


def without_modes(node: Node) -> Node:
    """`node` without its modules' training modes and freezing: new models have modes of their own."""
    inside = {key: without_modes(value) for key, (_, value) in _keyed(node, "")}
    return _without_mode(_refilled(node, inside) if inside else node)


def _without_mode(node: Node) -> Node:
    return replace(node, about={}) if isinstance(node, Object) and node.adapter == _MODULE else node


def _without(node: Node, path: str, rename: Mapping[str, str], moved: list[_Moved]) -> Node:
    kept: dict[Hashable, Node] = {}
    for key, (below, value) in _keyed(node, path):
        old = next((old for old in rename if _is_at(below, old)), None)  # the longest comes first
        if old is None:
            kept[key] = _without(value, below, rename, moved)
        else:
            moved.append((rename[old] + below.removeprefix(old), value, node))
    return _refilled(node, kept)


def _is_at(path: str, prefix: str) -> bool:
    """Whether `prefix` is `path`, or leads to it up to the end of an element or of a part of a dotted name."""
    rest = path.removeprefix(prefix)
    return path.startswith(prefix) and (not rest or rest[0] in "/." or prefix[-1:] in ("/", "."))


def _with(node: Node, here: str, path: str, new: Node, holder: Node) -> Node:
    """`node`, which is at `here`, with `new` at `path`; what is missing between is made like `holder`."""
    element, _, further = path.removeprefix(f"{here}/" if here else "").partition("/")
    below = f"{here}/{element}" if here else element
    kept = {key: value for key, (_, value) in _keyed(node, here)}
    [key] = [key for key in kept if paths.child(here, key) == below] or paths.plain_name(element)
    if further:
        empty = replace(holder, state={}, about={}) if isinstance(holder, Object) else {}
        kept[key] = _with(kept.get(key, empty), below, path, new, holder)
    elif key in kept:
        raise UsageError(f"rename: the checkpoint has something at {path!r} already")
    else:
        kept[key] = new
    return _refilled(node, kept)


def _keyed(node: Node, path: str) -> Iterator[tuple[Hashable, tuple[str, Node]]]:
    """The keys (indices) of what a container holds, with paths and values; nothing for anything else."""
    inside = _inside(node)
    if isinstance(inside, dict | list | tuple):
        yield from zip(
            inside if isinstance(inside, dict) else range(len(inside)), children(node, path), strict=True
        )


def _inside(node: Node) -> Node:
    while isinstance(node, Object):
        node = node.state
    return node


def _refilled(node: Node, kept: Mapping[Hashable, Node]) -> Node:
    """A container like `node` that holds `kept`; `node` itself if it is not a container."""
    match node:
        case Object():
            return replace(node, state=_refilled(node.state, kept))
        case dict():
            return dict(kept)
        case list():
            return list(kept.values())
        case tuple():
            return tuple(kept.values())
    return node


def _above(path: str) -> Iterator[str]:
    while path:
        yield path
        path = path.rpartition("/")[0]
