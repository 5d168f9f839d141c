"""The state tree as JSON text. `docs/format.md` has the grammar.

Each node becomes its text at once: a second tree of lists and dicts would keep the garbage collector busy. Where the
pieces of an array stand there is a gap, since everything else is known before the first of them is written. So the
text of what a tree has in common with the one saved before can be kept.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from itertools import chain
from typing import Any, Final, NamedTuple

import msgspec

from ...records import Leaf, Node, Object
from . import strict_json
from .boxes import Layout, encode_layouts
from .numbers import encode_float, encode_integer
from .pieces import Piece
from .scalars import encode_scalar, encode_text
from .tree import (
    MAX_KEY,
    MAX_TREE_BYTES,
    StoredTree,
    check_hashes,
    checked_key,
    is_kind,
    room_for_paths,
)

# No JSON has these.
_GAP: Final = b"\0"  # for the pieces of an array
_PART: Final = b"\1"  # for a part whose text is kept
_MIN_KEPT: Final = 16  # arrays in a part whose text is worth keeping
_LINES: Final = msgspec.json.Encoder()


class _Part(NamedTuple):
    """The text of a dict or an object with many arrays; what is in the parts inside is kept there, and only once."""

    node: Node  # kept alive, so that its id stays its own
    text: bytes  # with a gap for each part inside
    depth: int
    leaves: list[Leaf]  # that are in no part inside
    inside: list[tuple[int, _Part]]  # each with how many of these come before it


def encode_tree(stored: StoredTree) -> bytes:
    """The bytes of the tree's file; raises as `TreeText` and its `filled`."""
    return TreeText(stored.tree, stored.codecs).filled(stored)


class TreeText:
    """The text of a tree but for the pieces of its arrays.

    `before`: that of an earlier tree. What both have in common, the very same dict or object, is not encoded again.
    `layouts`: for each array that several processes save together, by its path, which of the head's layouts it has.

    Attributes:
        leaves: in the order of the tree.

    Raises (on construction):
        ValueError: it would be nested too deeply, or something in it is what readers would refuse.
    """

    def __init__(
        self,
        tree: Node,
        codecs: Mapping[str, str] | None = None,
        before: TreeText | None = None,
        layouts: Mapping[str, int] | None = None,
    ) -> None:
        self._codecs, self._layouts = codecs or {}, layouts or {}
        self._before = before._kept if before else {}
        self._kept: dict[int, _Part] = {}
        # That stand in a text which is not complete yet:
        self._leaves: list[Leaf] = []
        self._open: list[tuple[int, _Part]] = []
        # By exact type, as a state may have very many nodes; anything else takes the slow path.
        self._usual: dict[type, Callable[[Any], bytes]] = {
            str: lambda value: strict_json.encode(encode_text(value)),
            float: lambda value: strict_json.encode(encode_float(value)),
            int: lambda value: strict_json.encode(encode_integer(value)),
            bool: strict_json.encode,
            type(None): strict_json.encode,
            dict: partial(self._part, self._dict),
            list: self._list,
            Leaf: self._leaf,
            Object: partial(self._part, self._object),
        }
        entire = self._part_of(tree, self._node(tree), 0, 0)
        if entire.depth >= strict_json.MAX_DEPTH:  # of all the file one more
            raise strict_json.too_deep(entire.depth + 1)
        texts: list[bytes] = []
        self.leaves: list[Leaf] = []
        _lay_out(entire, texts, self.leaves)
        self._text = b"".join(texts)
        self._before, self._usual = {}, {}  # or it would be in a cycle with its own methods

    def filled(self, stored: StoredTree, layouts: Sequence[Layout] | None = None) -> bytes:
        """The bytes of the file of this tree, whose pieces `stored` has. `layouts`: of a head.

        Raises:
            ValueError: it would be larger than readers accept.
        """
        table = strict_json.encode([[name, links] for name, links in stored.links.items()])
        tree = self.node(stored)
        start = b'{"format":1,"files":%b' % table
        if layouts is not None:
            start = b'{"format":2,"files":%b,"layouts":%b' % (
                table,
                strict_json.encode(encode_layouts(layouts)),
            )
        data = b'%b,"tree":%b}' % (start, tree)
        if sum(map(len, stored.pieces)) > room_for_paths(data):
            raise ValueError("the paths of its arrays are too long; take shorter keys")
        if len(data) > MAX_TREE_BYTES:
            raise ValueError(
                f"the state's structure takes {len(data)} bytes; put large strings and lists into arrays"
            )
        return data

    @property
    def outline(self) -> bytes:
        """The text without the pieces of arrays."""
        return self._text

    def node(self, stored: StoredTree) -> bytes:
        """The text of the tree itself, whose pieces `stored` has; files are numbered in the order of its links."""
        files = {name: index for index, name in enumerate(stored.links)}
        pieces = [in_files(files, stored.pieces[leaf.path]) for leaf in self.leaves if self._has_pieces(leaf)]
        return _filled(self._text, _GAP, _LINES.encode_lines(pieces).splitlines())

    def _has_pieces(self, leaf: Leaf) -> bool:
        return leaf.size_bytes > 0 and leaf.path not in self._layouts

    def _node(self, value: Node) -> bytes:
        encode = self._usual.get(type(value))
        if encode is not None:
            return encode(value)
        match value:
            case tuple():
                return b'{"tuple":%b}' % self._list(value)
            case set() | frozenset():
                check_hashes(value)
                members = b",".join(sorted(map(self._node, value)))
                return b'{"%b":[%b]}' % (type(value).__name__.encode(), members)
        for kind in (str, int, float, list, dict):  # a subclass's value is kept
            if isinstance(value, kind):
                return self._usual[kind](value)
        return strict_json.encode(encode_scalar(value))

    def _list(self, items: Iterable[Node]) -> bytes:
        return b"[%b]" % b",".join([self._node(item) for item in items])

    def _dict(self, value: dict[Any, Node]) -> bytes:
        if set(map(type, value)) <= {str} and type(encode_text("".join(value))) is str:
            entries = [
                b"%b:%b" % (strict_json.encode(checked_key(key)), self._node(item))
                for key, item in value.items()
            ]
            return b'{"map":{%b}}' % b",".join(entries)
        check_hashes(value)
        entries = [
            b"[%b,%b]" % (self._node(checked_key(key)), self._node(item)) for key, item in value.items()
        ]
        return b'{"dict":[%b]}' % b",".join(entries)

    def _leaf(self, leaf: Leaf) -> bytes:
        if len(leaf.dtype) > MAX_KEY or not is_kind(leaf.kind):
            raise ValueError(f"{leaf.path!r} has an element type or kind that readers would refuse")
        self._leaves.append(leaf)
        content: dict[str, Any] = {"dtype": leaf.dtype, "shape": leaf.shape, "kind": leaf.kind}
        if leaf.order == "F":
            content["order"] = "F"
        if leaf.path in self._codecs:
            content["codec"] = self._codecs[leaf.path]
        if leaf.path in self._layouts:
            return b'{"array":%b}' % strict_json.encode(content | {"layout": self._layouts[leaf.path]})
        pieces = _GAP if leaf.size_bytes else b"[]"
        return b'{"array":%b,"pieces":%b}}' % (strict_json.encode(content)[:-1], pieces)

    def _object(self, value: Object) -> bytes:
        adapter, kind = strict_json.encode(value.adapter), strict_json.encode(value.type)
        about = b',"about":%b' % strict_json.encode(dict(value.about)) if value.about else b""
        state = self._node(value.state)
        return b'{"object":{"adapter":%b,"type":%b,"state":%b%b}}' % (adapter, kind, state, about)

    def _part(self, encode: Callable[[Any], bytes], node: Node) -> bytes:
        """The text of a dict or an object; of one with many arrays what stands for it."""
        part = self._before.get(id(node))
        if part is None or part.node is not node:
            first, begin = len(self._leaves), len(self._open)
            text = encode(node)
            if len(self._leaves) - first < _MIN_KEPT and len(self._open) == begin:
                return text
            part = self._part_of(node, text, first, begin)
        self._kept[id(node)] = part
        self._open.append((len(self._leaves), part))
        return _PART

    def _part_of(self, node: Node, text: bytes, first: int, begin: int) -> _Part:
        """What stands open from there on is inside of it."""
        leaves, inside = self._leaves[first:], [(at - first, part) for at, part in self._open[begin:]]
        del self._leaves[first:], self._open[begin:]
        brackets = [b"[" * part.depth + b"]" * part.depth for _, part in inside]
        depth = strict_json.depth_of(_filled(text, _PART, brackets).replace(_GAP, b"[[]]"))
        return _Part(node, text, depth, leaves, inside)


def in_files(files: Mapping[str, int], pieces: Sequence[Piece]) -> list[tuple[int, str, str, str, int]]:
    """Pieces as JSON has them; `files`: the number of each pack."""
    return [(files[piece.file], piece.key, piece.blake3, piece.xxh3, piece.born) for piece in pieces]


def _lay_out(part: _Part, texts: list[bytes], leaves: list[Leaf]) -> None:
    """Append the text of the part and its leaves, with those of the parts inside, in their order."""
    if not part.inside:  # and nothing is copied
        texts.append(part.text)
        leaves += part.leaves
        return
    between, done = part.text.split(_PART), 0
    for text, (at, each) in zip(between, part.inside, strict=False):  # and one text after the last
        texts.append(text)
        leaves += part.leaves[done:at]
        _lay_out(each, texts, leaves)
        done = at
    texts.append(between[-1])
    leaves += part.leaves[done:]


def _filled(text: bytes, gap: bytes, texts: Sequence[bytes]) -> bytes:
    """The text with one of these in each gap."""
    return b"".join(chain.from_iterable(zip(text.split(gap), [*texts, b""], strict=True)))
