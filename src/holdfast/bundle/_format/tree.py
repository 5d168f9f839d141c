"""The state tree, read back from its JSON; `tree_text` writes it. `docs/format.md` has the grammar.

A JSON array is a list; a string, boolean, null, 63-bit integer or finite float is itself; everything
else is an object with one key that says what it is.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import chain
from typing import Any, Final, Protocol

import msgspec
from msgspec import UNSET

from ... import paths
from ...errors import CheckpointDamagedError
from ...records import BY_RANK, Alias, Box, Leaf, Node, Object
from . import strict_json
from .codec import PLANES_ZSTD
from .json_tree import JsonArray, JsonNode, JsonObject, JsonPiece, Tagged, TreeFile
from .keys import check_hashes, checked_key, members_of
from .names import is_data_file
from .numbers import CHUNK_DIGITS
from .pieces import Piece
from .scalars import DECODERS

MAX_TREE_BYTES = 64 << 20
MAX_LEAVES = 1_000_000
MAX_LONG_DIGITS = 400_000  # in all integers that are more than a few thousand digits long
_DIGITS = re.compile(r"[0-9a-f]*")
MALFORMED: Final = (
    *(ValueError, TypeError, LookupError, AttributeError, OverflowError, RecursionError),
    msgspec.ValidationError,
)
_KIND = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_DECODER: Final = msgspec.json.Decoder(TreeFile)


@dataclass(frozen=True, slots=True)
class StoredTree:
    """A tree with, for every leaf's path, where its pieces are.

    `leaves` has all leaves of the tree, in its order. An array that several processes saved together has no pieces itself:
    `boxes` has its boxes by its path, and these have pieces, by paths of their own.
    """

    tree: Node
    leaves: Sequence[Leaf]
    pieces: Mapping[str, Sequence[Piece]]
    links: Mapping[str, int]  # pack: how many later checkpoints had linked it when this one was saved
    # Path: how its pieces are kept, if not as they are.
    codecs: Mapping[str, str] = field(default_factory=dict)
    boxes: Mapping[str, Sequence[Box]] = field(default_factory=dict)

    def stored(self, wanted: Iterable[Leaf]) -> Iterator[Leaf]:
        """What has pieces of these leaves of the tree: themselves, or their boxes."""
        if not self.boxes:
            return iter(wanted)
        return chain.from_iterable(self.boxes.get(leaf.path, (leaf,)) for leaf in wanted)


def decode_tree(data: bytes | bytearray, place: str) -> StoredTree:
    """The tree in `data`; `place` is named in errors.

    Raises:
        CheckpointDamagedError: it breaks the format.
    """
    try:
        file, num_keys = strict_json.decode_as(_DECODER, data)
        links = decode_files(file.files)
        decoder = Decoder(list(links), room_for_paths(data))
        tree = decoder.node("", file.tree)
        strict_json.check_keys(len(TreeFile.__struct_fields__) + decoder.num_keys, num_keys)
        decoder.check_digests()
        return StoredTree(tree, decoder.leaves, decoder.pieces, links, decoder.codecs)
    except MALFORMED as err:
        raise CheckpointDamagedError(place, f"its state tree is malformed ({err})") from None


def room_for_paths(data: bytes | bytearray) -> int:
    """How long all paths of a tree together may be: a long key above many nodes is in each of their paths."""
    return (32 << 20) + 16 * len(data)


def decode_files(content: list[tuple[str, int]]) -> dict[str, int]:
    """How often each pack of this table is linked; ValueError if they have no sound names."""
    links = dict(content)
    if len(links) != len(content) or not all(map(is_data_file, links)):
        raise ValueError("the table of files is malformed")
    return links


@lru_cache(maxsize=256)
def is_kind(kind: str) -> bool:
    """Whether it can be that of a leaf."""
    return _KIND.fullmatch(kind) is not None


class Shared(Protocol):
    """What knows of parts, in the tree of a checkpoint that several processes saved together."""

    def take(self, leaf: Leaf, layout: int) -> None:
        """This array has a layout instead of pieces."""
        ...

    def own(self, decoder: Decoder, path: str, content: JsonNode) -> Node:
        """The state of an object that stands for what each process has for itself."""
        ...


class Decoder:
    """Makes nodes of what was read, checking everything that its types cannot say.

    Attributes:
        num_keys: of all that was made into nodes.
    """

    def __init__(self, files: Sequence[str], room_for_paths: int, shared: Shared | None = None) -> None:
        self.files = files  # those that pieces are numbered by
        self.finished: set[str] = set()  # paths that an alias may mean: earlier leaves and objects
        self._shared = shared
        self._room_for_paths, self._room_for_digits = room_for_paths, MAX_LONG_DIGITS
        self.leaves: list[Leaf] = []
        self.pieces: dict[str, Sequence[Piece]] = {}
        self.codecs: dict[str, str] = {}
        self.num_keys = 0
        self._digests: list[str] = []

    def node(self, path: str, value: Any) -> Node:
        kind = type(value)
        if kind is list:
            return self._items(path, value)
        if kind is dict:  # in a list within a list
            value = msgspec.convert(value, Tagged)
        elif kind is not Tagged:
            return value  # null, boolean, integer, float, string
        self._room_for_paths -= len(path)  # as `spend`: a call would cost more
        if self._room_for_paths < 0:
            self.spend("")
        self.num_keys += 1
        if value.array is not UNSET:
            return self._leaf(path, value.array)
        if value.map is not UNSET:
            self.num_keys += len(value.map)
            return {
                key: self.node(paths.child(path, key), item) if type(item) in _NESTED else item
                for key, item in value.map.items()
            }
        if value.object is not UNSET:
            return self._object(path, value.object)
        if value.tuple_ is not UNSET:
            return tuple(self._items(path, value.tuple_))
        return self._rare(path, value)

    def _rare(self, path: str, value: Tagged) -> Node:
        if value.dict_ is not UNSET:
            return self._dict(path, value.dict_)
        if value.alias is not UNSET:
            if value.alias not in self.finished:
                raise ValueError(f"{path!r} is an alias of {value.alias!r}, which does not come before it")
            return Alias(value.alias)
        if value.set_ is not UNSET:
            return set(members_of(map(self._plain, value.set_)))
        if value.frozenset_ is not UNSET:
            return frozenset(members_of(map(self._plain, value.frozenset_)))
        for tag, decode in DECODERS.items():
            if (content := getattr(value, tag)) is not UNSET:
                self.num_keys += strict_json.count_keys(content)
                if tag == "i" and len(content) > CHUNK_DIGITS:
                    self._room_for_digits -= len(content)
                    if self._room_for_digits < 0:
                        raise ValueError("its integers have too many digits")
                return decode(content)
        raise ValueError(f"{path!r} is no node")

    def spend(self, path: str) -> None:
        self._room_for_paths -= len(path)
        if self._room_for_paths < 0:
            raise ValueError("its paths are too long: they would take far more memory than the tree")

    def _items(self, path: str, items: list[Any]) -> list[Node]:
        self.spend(path)
        return [
            self.node(paths.item(path, index), item) if type(item) in _NESTED else item
            for index, item in enumerate(items)
        ]

    def _plain(self, value: Any) -> Any:
        """A node without arrays or objects: a key of a dict, a member of a set."""
        if type(value) is dict:
            value = msgspec.convert(value, Tagged)
        if type(value) is list or (
            type(value) is Tagged and any(getattr(value, name) is not UNSET for name in _NOT_PLAIN)
        ):
            raise ValueError("only plain values can be keys or members of sets")
        if type(value) is Tagged and value.tuple_ is not UNSET:
            self.num_keys += 1
            return tuple(self._plain(item) for item in value.tuple_)
        return self.node("", value)

    def _dict(self, path: str, content: list[tuple[Any, Any]]) -> dict[Any, Node]:
        keys = [checked_key(self._plain(key_node)) for key_node, _ in content]
        check_hashes(keys)
        decoded = {
            key: self.node(paths.child(path, key), item) for key, (_, item) in zip(keys, content, strict=True)
        }
        if len(decoded) != len(content):
            raise ValueError(f"{path!r} has the same key twice")
        return decoded

    def _object(self, path: str, content: JsonObject) -> Object:
        about, self.num_keys = content.about, self.num_keys + 3
        if about is UNSET:
            about = {}
        else:
            self.num_keys += 1 + strict_json.count_keys(about)
        if content.adapter == BY_RANK and self._shared is not None:
            state = self._shared.own(self, path, content.state)
        else:
            state = self.node(path, content.state)
        self.finished.add(path)
        return Object(content.adapter, content.type, state, about)

    def _leaf(self, path: str, array: JsonArray) -> Leaf:
        if not is_kind(array.kind):
            raise ValueError(f"{path!r} has no kind")
        if path in self.pieces or len(self.leaves) >= MAX_LEAVES:
            raise ValueError(f"{path!r} occurs twice, or there are too many arrays")
        self.num_keys += 4
        order = "C"
        if array.order is not UNSET:
            self.num_keys += 1
            order = "F"
        axes: tuple[int, ...] = ()
        if array.axes is not UNSET:
            self.num_keys += 1
            axes = array.axes
            if order == "F" or not axes or sorted(axes) != [*range(len(array.shape))]:
                raise ValueError(f"{path!r} has axes that are not its own")
        if array.codec is not UNSET:
            if array.codec != PLANES_ZSTD:
                raise ValueError(f"{path!r} is compressed in an unknown way")
            self.num_keys += 1
            self.codecs[path] = PLANES_ZSTD
        leaf = Leaf(path, array.dtype, array.shape, order, array.kind, axes=axes)
        if array.layout is UNSET and array.pieces is not UNSET:
            self.pieces[path] = self.placed(array.pieces)
        elif (
            self._shared is not None
            and array.layout is not UNSET
            and array.pieces is array.order is array.axes is array.codec is UNSET
        ):
            self._shared.take(leaf, array.layout)
            self.pieces[path] = ()  # so that no other array has this path
        else:
            raise ValueError(f"{path!r} has no pieces")
        self.finished.add(path)
        self.leaves.append(leaf)
        return leaf

    def placed(self, found: Iterable[JsonPiece]) -> list[Piece]:
        """These pieces of an array, by the names of their packs."""
        pieces: list[Piece] = []
        for each in found:
            self._digests += each.blake3, each.xxh3
            pieces.append(Piece(self.files[each.file], each.key, each.blake3, each.xxh3, each.born))
        return pieces

    def check_digests(self) -> None:
        """ValueError unless those of all pieces are digits."""
        if not _DIGITS.fullmatch("".join(self._digests)):
            raise ValueError("a piece has no digest")


_NESTED: Final = frozenset((Tagged, list, dict))  # what is none of these stands for itself, and needs no path
_NOT_PLAIN: Final = ("array", "object", "alias", "map", "dict_", "set_")
