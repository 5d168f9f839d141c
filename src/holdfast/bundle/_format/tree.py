"""The state tree, read back from its JSON; `tree_text` writes it. `docs/format.md` has the grammar.

A JSON array is a list; a string, boolean, null, 63-bit integer or finite float is itself; everything
else is an object with one key that says what it is.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import chain, starmap
from typing import Any, Literal, Protocol

import msgspec

from ... import paths
from ...errors import CheckpointDamagedError
from ...records import BY_RANK, Alias, Box, Leaf, Node, Object
from . import strict_json
from .codec import PLANES_ZSTD
from .names import is_data_file
from .numbers import CHUNK_DIGITS
from .pieces import Piece
from .scalars import DECODERS

MAX_TREE_BYTES = 64 << 20
MAX_LEAVES = 1_000_000
MAX_RANK = 64
MAX_KEY = 65536
MAX_LONG_DIGITS = 400_000  # in all integers that are more than a few thousand digits long
MAX_EQUAL_HASHES = 64
PIECES = list[tuple[int, str, str, str, int]]
_DIGITS = re.compile(r"[0-9a-f]*")
_NESTED = frozenset((dict, list))  # what is neither stands for itself, and needs no path
_OBJECT = frozenset(("adapter", "type", "state"))
_NOT_PLAIN = frozenset(("array", "object", "alias", "map", "dict", "set"))
_KIND = re.compile(r"[A-Za-z0-9_.-]{1,64}")


class _Array(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """An array as the file describes it."""

    dtype: str
    shape: tuple[int, ...]
    kind: str
    pieces: PIECES | msgspec.UnsetType = msgspec.UNSET
    layout: int | msgspec.UnsetType = msgspec.UNSET
    order: Literal["F"] | msgspec.UnsetType = msgspec.UNSET
    codec: str | msgspec.UnsetType = msgspec.UNSET


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
        content = strict_json.decode(data)
        if content.keys() != {"format", "files", "tree"} or content["format"] != 1:
            raise ValueError("not a tree of format 1")
        links = decode_files(content["files"])
        decoder = Decoder(list(links), room_for_paths(data))
        tree = decoder.node("", content["tree"])
        decoder.check_digests()
        return StoredTree(tree, decoder.leaves, decoder.pieces, links, decoder.codecs)
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError) as err:
        raise CheckpointDamagedError(place, f"its state tree is malformed ({err})") from None


def room_for_paths(data: bytes | bytearray) -> int:
    """How long all paths of a tree together may be: a long key above many nodes is in each of their paths."""
    return (32 << 20) + 16 * len(data)


def decode_files(content: Any) -> dict[str, int]:
    links: dict[str, int] = dict(content)
    are_sound = all(is_data_file(name) and type(count) is int and count >= 0 for name, count in links.items())
    if len(links) != len(content) or not are_sound:
        raise ValueError("the table of files is malformed")
    return links


@lru_cache(maxsize=256)
def is_kind(kind: str) -> bool:
    """Whether it can be that of a leaf."""
    return _KIND.fullmatch(kind) is not None


class Shared(Protocol):
    """What knows of parts, in the tree of a checkpoint that several processes saved together."""

    def take(self, leaf: Leaf, layout: Any) -> None:
        """This array has a layout instead of pieces."""
        ...

    def own(self, decoder: Decoder, path: str, content: Any) -> Node:
        """The state of an object that stands for what each process has for itself."""
        ...


class Decoder:
    """Rebuilds nodes, checking everything that JSON itself cannot promise."""

    def __init__(self, files: Sequence[str], room_for_paths: int, shared: Shared | None = None) -> None:
        self.files = files  # those that pieces are numbered by
        self.finished: set[str] = set()  # paths that an alias may mean: earlier leaves and objects
        self._shared = shared
        self._room_for_paths, self._room_for_digits = room_for_paths, MAX_LONG_DIGITS
        self.leaves: list[Leaf] = []
        self.pieces: dict[str, Sequence[Piece]] = {}
        self.codecs: dict[str, str] = {}
        self._digests: list[str] = []

    def node(self, path: str, value: Any) -> Node:
        if type(value) is list:
            return self._items(path, value)
        if type(value) is not dict:
            return value  # null, boolean, integer, float, string
        if len(value) != 1:
            raise ValueError(f"{path!r} is no node")
        self.spend(path)
        [(tag, content)] = value.items()
        if tag in _USUAL:
            return _USUAL[tag](self, path, content)
        if tag == "alias":
            if content not in self.finished:
                raise ValueError(f"{path!r} is an alias of {content!r}, which does not come before it")
            return Alias(content)
        if tag in ("set", "frozenset"):
            return _set(tag, [self._plain(item) for item in _list(content)])
        if tag not in DECODERS:
            raise ValueError(f"{path!r} is of the unknown kind {tag!r}")
        if tag == "i" and len(content) > CHUNK_DIGITS:
            self._room_for_digits -= len(content)
            if self._room_for_digits < 0:
                raise ValueError("its integers have too many digits")
        return DECODERS[tag](content)

    def _map(self, path: str, content: dict[str, Any]) -> dict[str, Node]:
        if max(map(len, content), default=0) > MAX_KEY:
            raise ValueError("a key is too long")
        return {
            key: self.node(paths.child(path, key), item) if type(item) in _NESTED else item
            for key, item in content.items()
        }

    def _tuple(self, path: str, content: Any) -> tuple[Node, ...]:
        return tuple(self._items(path, _list(content)))

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
        if type(value) is list or (type(value) is dict and value.keys() & _NOT_PLAIN):
            raise ValueError("only plain values can be keys or members of sets")
        if type(value) is dict and value.keys() == {"tuple"}:
            return tuple(self._plain(item) for item in _list(value["tuple"]))
        return self.node("", value)

    def _dict(self, path: str, content: Any) -> dict[Any, Node]:
        keys = [checked_key(self._plain(key_node)) for key_node, _ in _list(content)]
        check_hashes(keys)
        decoded = {
            key: self.node(paths.child(path, key), item) for key, (_, item) in zip(keys, content, strict=True)
        }
        if len(decoded) != len(content):
            raise ValueError(f"{path!r} has the same key twice")
        return decoded

    def _object(self, path: str, content: dict[str, Any]) -> Object:
        about = content.get("about", {})
        if not _OBJECT <= content.keys() <= _OBJECT | {"about"} or type(about) is not dict:
            raise ValueError(f"{path!r} is no object")
        adapter, kind = content["adapter"], content["type"]
        if not type(adapter) is type(kind) is str:
            raise ValueError(f"{path!r} is no object")
        if adapter == BY_RANK and self._shared is not None:
            state = self._shared.own(self, path, content["state"])
        else:
            state = self.node(path, content["state"])
        self.finished.add(path)
        return Object(adapter, kind, state, about)

    def _leaf(self, path: str, content: Any) -> Leaf:
        array = msgspec.convert(content, _Array)
        shape = array.shape
        if len(shape) > MAX_RANK or (shape and min(shape) < 0):
            raise ValueError(f"{path!r} has no shape")
        if not is_kind(array.kind):
            raise ValueError(f"{path!r} has no kind")
        if len(array.dtype) > MAX_KEY:
            raise ValueError(f"{path!r} has no element type")
        if path in self.pieces or len(self.leaves) >= MAX_LEAVES:
            raise ValueError(f"{path!r} occurs twice, or there are too many arrays")
        leaf = Leaf(path, array.dtype, shape, "C" if array.order is msgspec.UNSET else "F", array.kind)
        if array.pieces is not msgspec.UNSET and array.layout is msgspec.UNSET:
            self.pieces[path] = [*starmap(self.piece, array.pieces)]
        elif self._shared is not None and array.pieces is array.order is array.codec is msgspec.UNSET:
            self._shared.take(leaf, array.layout)
            self.pieces[path] = ()  # so that no other array has this path
        else:
            raise ValueError(f"{path!r} has no pieces")
        if array.codec is not msgspec.UNSET:
            if array.codec != PLANES_ZSTD:
                raise ValueError(f"{path!r} is compressed in an unknown way")
            self.codecs[path] = PLANES_ZSTD
        self.finished.add(path)
        self.leaves.append(leaf)
        return leaf

    def piece(self, file: int, key: str, blake3: str, xxh3: str, born: int) -> Piece:
        if not 0 <= file < len(self.files) or born < 0:
            raise ValueError("a piece is in no file")
        if len(blake3) != 64 or len(xxh3) != 32:
            raise ValueError("a piece has no digest")
        self._digests += blake3, xxh3
        return Piece(self.files[file], key, blake3, xxh3, born)

    def check_digests(self) -> None:
        """ValueError unless those of all pieces are digits."""
        if not _DIGITS.fullmatch("".join(self._digests)):
            raise ValueError("a piece has no digest")


_USUAL: dict[str, Callable[[Decoder, str, Any], Node]] = {
    "array": Decoder._leaf,
    "map": Decoder._map,
    "dict": Decoder._dict,
    "object": Decoder._object,
    "tuple": Decoder._tuple,
}


def _list(content: Any) -> list[Any]:
    if type(content) is not list:
        raise ValueError("a list was expected")
    return content


def checked_key(key: Any) -> Any:
    """The key; ValueError if it is too long."""
    if type(key) is str and len(key) > MAX_KEY:
        raise ValueError("a key is too long")
    return key


def check_hashes(keys: Collection[Any]) -> None:
    """ValueError if too many keys collide: each would be compared with all before it, which can take hours.

    Texts and bytes are hashed with a secret; numbers, and what is made of them, are not.
    """
    if len(keys) > MAX_EQUAL_HASHES and max(Counter(map(hash, keys)).values()) > MAX_EQUAL_HASHES:
        raise ValueError("too many keys or members have the same hash")


def _set(tag: str, items: list[Any]) -> set[Any] | frozenset[Any]:
    check_hashes(items)
    found = set(items) if tag == "set" else frozenset(items)
    # NaN members are distinct objects, so they never make this differ.
    if len(found) != len(items):
        raise ValueError("a set has the same member twice")
    return found
