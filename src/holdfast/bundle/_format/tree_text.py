"""The state tree as JSON text. `docs/format.md` has the grammar.

Nodes become what msgspec encodes as the grammar wants it, in structs that the garbage collector need not look at, and
a part of the tree becomes text by one call. Where the pieces of an array stand there is a gap, since everything else is
known before the first of them is written. So the text of what a tree has in common with the one saved before can be kept.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from itertools import chain
from typing import Any, Final, NamedTuple

import msgspec

from ...records import Leaf, Node, Object
from ...set_order import has_order
from . import strict_json
from .boxes import Layout, encode_layouts
from .keys import MAX_KEY, check_hashes, checked_key
from .numbers import encode_float, encode_integer
from .pieces import Piece
from .scalars import encode_scalar, encode_text
from .tree import MAX_TREE_BYTES, StoredTree, is_kind, room_for_paths

# No JSON has these.
_GAP: Final = b"\0"  # for the pieces of an array
_PART: Final = b"\1"  # for a part whose text is kept
_MIN_KEPT: Final = 16  # arrays in a part whose text is worth keeping
_LINES: Final = msgspec.json.Encoder()


class _Text(msgspec.Struct, gc=False):
    """A node as it is encoded: an object with one key."""


class _Map(_Text):
    map: dict[str, Any]


class _Dict(_Text):
    dict: list[tuple[Any, Any]]


class _Tuple(_Text):
    tuple: list[Any]


class _Facts(msgspec.Struct, gc=False):
    dtype: str
    shape: tuple[int, ...]
    kind: str
    order: str | msgspec.UnsetType = msgspec.UNSET
    axes: tuple[int, ...] | msgspec.UnsetType = msgspec.UNSET
    codec: str | msgspec.UnsetType = msgspec.UNSET
    pieces: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    layout: int | msgspec.UnsetType = msgspec.UNSET


class _Array(_Text):
    array: _Facts


class _Content(msgspec.Struct, gc=False):
    adapter: str
    type: str
    state: Any
    about: Mapping[str, Any] | msgspec.UnsetType


class _Object(_Text):
    object: _Content


_ITSELF: Final = frozenset((bool, type(None)))
# What else is encoded as it is: most of the values in a container. A call for each would cost more than all the rest.
_SMALL: Final = 1 << 62
_INFINITY: Final = float("inf")
_PIECES: Final = msgspec.Raw(_GAP)
_NONE: Final = msgspec.Raw(b"[]")
_KEPT: Final = msgspec.Raw(_PART)


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
        self._usual: dict[type, Callable[[Any], Any]] = {
            str: encode_text,
            float: encode_float,
            int: encode_integer,
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
        pieces = [
            in_files(files, stored.pieces[leaf.path])
            for leaf in self.leaves
            if leaf.size_bytes and leaf.path not in self._layouts
        ]
        return _filled(self._text, _GAP, _LINES.encode_lines(pieces).splitlines())

    def _node(self, value: Node) -> Any:
        encode = self._usual.get(type(value))
        if encode is not None:
            return encode(value)
        if type(value) in _ITSELF:
            return value
        match value:
            case tuple():
                return _Tuple(self._list(value))
            case set() | frozenset():
                check_hashes(value)
                members = [strict_json.encode(self._node(each)) for each in value]
                if not has_order(value):
                    members.sort()
                return msgspec.Raw(b'{"%b":[%b]}' % (type(value).__name__.encode(), b",".join(members)))
        for kind in (str, int, float, list, dict):  # a subclass's value is kept
            if isinstance(value, kind):
                return self._usual[kind](value)
        return encode_scalar(value)

    def _list(self, items: Iterable[Node]) -> list[Any]:
        node = self._node
        return [
            item
            if (kind := type(item)) in _ITSELF
            or (kind is int and -_SMALL < item < _SMALL)
            or (kind is float and 0 < item < _INFINITY)
            else node(item)
            for item in items
        ]

    def _dict(self, value: dict[Any, Node]) -> _Map | _Dict:
        node = self._node
        if set(map(type, value)) <= {str} and type(keys := encode_text("".join(value))) is str:
            if len(keys) > MAX_KEY:  # of all together
                for key in value:
                    checked_key(key)
            return _Map(
                {
                    key: item
                    if (kind := type(item)) in _ITSELF
                    or (kind is str and item.isascii())
                    or (kind is int and -_SMALL < item < _SMALL)
                    or (kind is float and 0 < item < _INFINITY)
                    else node(item)
                    for key, item in value.items()
                }
            )
        check_hashes(value)
        return _Dict([(node(checked_key(key)), node(item)) for key, item in value.items()])

    def _leaf(self, leaf: Leaf) -> _Array:
        if len(leaf.dtype) > MAX_KEY or not is_kind(leaf.kind):
            raise ValueError(f"{leaf.path!r} has an element type or kind that readers would refuse")
        self._leaves.append(leaf)
        if leaf.path in self._layouts:
            return _Array(_Facts(leaf.dtype, leaf.shape, leaf.kind, layout=self._layouts[leaf.path]))
        order = "F" if leaf.order == "F" else msgspec.UNSET
        axes = leaf.axes or msgspec.UNSET
        codec = self._codecs.get(leaf.path, msgspec.UNSET)
        pieces = _PIECES if leaf.size_bytes else _NONE
        return _Array(_Facts(leaf.dtype, leaf.shape, leaf.kind, order, axes, codec, pieces))

    def _object(self, value: Object) -> _Object:
        about = dict(value.about) if value.about else msgspec.UNSET
        return _Object(_Content(value.adapter, value.type, self._node(value.state), about))

    def _part(self, encode: Callable[[Any], Any], node: Node) -> Any:
        """What is encoded of a dict or an object; of one with many arrays what stands for its text."""
        part = self._before.get(id(node))
        if part is None or part.node is not node:
            first, begin = len(self._leaves), len(self._open)
            found = encode(node)
            if len(self._leaves) - first < _MIN_KEPT and len(self._open) == begin:
                return found
            part = self._part_of(node, found, first, begin)
        self._kept[id(node)] = part
        self._open.append((len(self._leaves), part))
        return _KEPT

    def _part_of(self, node: Node, found: Any, first: int, begin: int) -> _Part:
        """What stands open from there on is inside of it; `found`: what is encoded of the node."""
        text = strict_json.encode(found)
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
