"""The state tree as JSON, and back. `docs/format.md` has the grammar.

A JSON array is a list; a string, boolean, null, 63-bit integer or finite float is itself; everything
else is an object with one key that says what it is.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from ... import dtypes, paths
from ...errors import CheckpointDamagedError
from ...records import Alias, Leaf, Node, Object
from . import strict_json
from .codec import PLANES_ZSTD
from .names import is_data_file
from .numbers import CHUNK_DIGITS, are_counts, encode_float, encode_integer
from .pieces import Piece
from .scalars import DECODERS, encode_scalar, encode_text

MAX_TREE_BYTES = 64 << 20
MAX_LEAVES = 1_000_000
MAX_RANK = 64
MAX_KEY = 65536
MAX_LONG_DIGITS = 400_000  # in all integers that are more than a few thousand digits long
MAX_EQUAL_HASHES = 64
_DIGESTS = re.compile(r"[0-9a-f]{64} [0-9a-f]{32}")
_NESTED = frozenset((dict, list))  # what is neither stands for itself, and needs no path
_OBJECT = frozenset(("adapter", "type", "state"))
_ARRAY = frozenset(("dtype", "shape", "kind", "pieces"))
_NOT_PLAIN = frozenset(("array", "object", "alias", "map", "dict", "set"))
_KIND = re.compile(r"[A-Za-z0-9_.-]{1,64}")


@dataclass(frozen=True, slots=True)
class StoredTree:
    """A tree with, for every leaf's path, where its pieces are."""

    tree: Node
    pieces: Mapping[str, Sequence[Piece]]
    links: Mapping[str, int]  # pack: how many later checkpoints had linked it when this one was saved
    # Path: how its pieces are kept, if not as they are.
    codecs: Mapping[str, str] = field(default_factory=dict)


def encode_tree(stored: StoredTree) -> bytes:
    """The bytes of the tree's file.

    Raises:
        ValueError: it would be nested too deeply, or larger than readers accept.
    """
    files = {name: index for index, name in enumerate(stored.links)}
    table = strict_json.encode([[name, links] for name, links in stored.links.items()])
    data = b'{"format":1,"files":%b,"tree":%b}' % (table, _Encoder(files, stored).node(stored.tree))
    strict_json.check_depth(data)
    if sum(map(len, stored.pieces)) > _room_for_paths(data):
        raise ValueError("the paths of its arrays are too long; take shorter keys")
    if len(data) > MAX_TREE_BYTES:
        raise ValueError(
            f"the state's structure takes {len(data)} bytes; put large strings and lists into arrays"
        )
    return data


def decode_tree(data: bytes | bytearray, place: str) -> StoredTree:
    """The tree in `data`; `place` is named in errors.

    Raises:
        CheckpointDamagedError: it breaks the format.
    """
    try:
        content = strict_json.decode(data)
        if content.keys() != {"format", "files", "tree"} or content["format"] != 1:
            raise ValueError("not a tree of format 1")
        links = _files(content["files"])
        decoder = _Decoder(list(links), _room_for_paths(data))
        tree = decoder.node("", content["tree"])
        return StoredTree(tree, decoder.pieces, links, decoder.codecs)
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError) as err:
        raise CheckpointDamagedError(place, f"its state tree is malformed ({err})") from None


def _room_for_paths(data: bytes | bytearray) -> int:
    """How long all paths of a tree together may be: a long key above many nodes is in each of their paths."""
    return (32 << 20) + 16 * len(data)


def _files(content: Any) -> dict[str, int]:
    links: dict[str, int] = dict(content)
    are_sound = all(is_data_file(name) and type(count) is int and count >= 0 for name, count in links.items())
    if len(links) != len(content) or not are_sound:
        raise ValueError("the table of files is malformed")
    return links


class _Encoder:
    """Each node as its JSON text, at once: a second tree of lists and dicts would keep the garbage collector busy."""

    def __init__(self, files: Mapping[str, int], stored: StoredTree) -> None:
        self._files, self._pieces, self._codecs = files, stored.pieces, stored.codecs
        # By exact type, as a state may have very many nodes; anything else takes the slow path.
        self._usual: dict[type, Callable[[Any], bytes]] = {
            str: lambda value: strict_json.encode(encode_text(value)),
            float: lambda value: strict_json.encode(encode_float(value)),
            int: lambda value: strict_json.encode(encode_integer(value)),
            bool: strict_json.encode,
            type(None): strict_json.encode,
            dict: self._dict,
            list: self._list,
            Leaf: self._leaf,
            Object: self._object,
        }

    def node(self, value: Node) -> bytes:
        encode = self._usual.get(type(value))
        if encode is not None:
            return encode(value)
        match value:
            case tuple():
                return b'{"tuple":%b}' % self._list(value)
            case set() | frozenset():
                _check_hashes(value)
                members = b",".join(sorted(map(self.node, value)))
                return b'{"%b":[%b]}' % (type(value).__name__.encode(), members)
        for kind in (str, int, float, list, dict):  # a subclass's value is kept
            if isinstance(value, kind):
                return self._usual[kind](value)
        return strict_json.encode(encode_scalar(value))

    def _list(self, items: Iterable[Node]) -> bytes:
        return b"[%b]" % b",".join([self.node(item) for item in items])

    def _dict(self, value: dict[Any, Node]) -> bytes:
        if set(map(type, value)) <= {str} and type(encode_text("".join(value))) is str:
            entries = [
                b"%b:%b" % (strict_json.encode(_key(key)), self.node(item)) for key, item in value.items()
            ]
            return b'{"map":{%b}}' % b",".join(entries)
        _check_hashes(value)
        entries = [b"[%b,%b]" % (self.node(_key(key)), self.node(item)) for key, item in value.items()]
        return b'{"dict":[%b]}' % b",".join(entries)

    def _leaf(self, leaf: Leaf) -> bytes:
        if len(leaf.dtype) > MAX_KEY or not _is_kind(leaf.kind):
            raise ValueError(f"{leaf.path!r} has an element type or kind that readers would refuse")
        content: dict[str, Any] = {"dtype": leaf.dtype, "shape": leaf.shape, "kind": leaf.kind}
        if leaf.order == "F":
            content["order"] = "F"
        if leaf.path in self._codecs:
            content["codec"] = self._codecs[leaf.path]
        content["pieces"] = [
            (self._files[piece.file], piece.key, piece.blake3, piece.xxh3, piece.born)
            for piece in self._pieces[leaf.path]
        ]
        return b'{"array":%b}' % strict_json.encode(content)

    def _object(self, value: Object) -> bytes:
        adapter, kind = strict_json.encode(value.adapter), strict_json.encode(value.type)
        about = b',"about":%b' % strict_json.encode(dict(value.about)) if value.about else b""
        state = self.node(value.state)
        return b'{"object":{"adapter":%b,"type":%b,"state":%b%b}}' % (adapter, kind, state, about)


@lru_cache(maxsize=256)
def _is_kind(kind: str) -> bool:
    return _KIND.fullmatch(kind) is not None


class _Decoder:
    """Rebuilds nodes, checking everything that JSON itself cannot promise."""

    def __init__(self, files: Sequence[str], room_for_paths: int) -> None:
        self._files = files
        self._room_for_paths, self._room_for_digits = room_for_paths, MAX_LONG_DIGITS
        self.pieces: dict[str, Sequence[Piece]] = {}
        self.codecs: dict[str, str] = {}
        self._finished: set[str] = set()  # paths that an alias may mean: earlier leaves and objects

    def node(self, path: str, value: Any) -> Node:
        if type(value) is list:
            return self._items(path, value)
        if type(value) is not dict:
            return value  # null, boolean, integer, float, string
        if len(value) != 1:
            raise ValueError(f"{path!r} is no node")
        self._spend(path)
        [(tag, content)] = value.items()
        if tag == "map":
            return {
                _key(key): self.node(paths.child(path, key), item) if type(item) in _NESTED else item
                for key, item in content.items()
            }
        if tag == "dict":
            return self._dict(path, content)
        if tag == "array":
            return self._leaf(path, content)
        if tag == "object":
            return self._object(path, content)
        if tag == "tuple":
            return tuple(self._items(path, _list(content)))
        if tag == "alias":
            if content not in self._finished:
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

    def _spend(self, path: str) -> None:
        self._room_for_paths -= len(path)
        if self._room_for_paths < 0:
            raise ValueError("its paths are too long: they would take far more memory than the tree")

    def _items(self, path: str, items: list[Any]) -> list[Node]:
        self._spend(path)
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
        keys = [_key(self._plain(key_node)) for key_node, _ in _list(content)]
        _check_hashes(keys)
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
        state = self.node(path, content["state"])
        self._finished.add(path)
        return Object(adapter, kind, state, about)

    def _leaf(self, path: str, content: dict[str, Any]) -> Leaf:
        if not _ARRAY <= content.keys() <= _ARRAY | {"order", "codec"}:
            raise ValueError(f"{path!r} is no array")
        shape, kind, dtype = content["shape"], content["kind"], content["dtype"]
        if not are_counts(shape) or len(shape) > MAX_RANK:
            raise ValueError(f"{path!r} has no shape")
        if content.get("order", "F") != "F" or type(kind) is not str or not _is_kind(kind):
            raise ValueError(f"{path!r} has no order or kind")
        if type(dtype) is not str or len(dtype) > MAX_KEY:
            raise ValueError(f"{path!r} has no element type")
        dtypes.check(dtype)
        if path in self.pieces or len(self.pieces) >= MAX_LEAVES:
            raise ValueError(f"{path!r} occurs twice, or there are too many arrays")
        self.pieces[path] = tuple(self._piece(piece) for piece in _list(content["pieces"]))
        if "codec" in content:
            if content["codec"] != PLANES_ZSTD:
                raise ValueError(f"{path!r} is compressed in an unknown way")
            self.codecs[path] = PLANES_ZSTD
        self._finished.add(path)
        return Leaf(path, dtype, tuple(shape), "F" if "order" in content else "C", kind)

    def _piece(self, content: Any) -> Piece:
        file, key, blake3, xxh3, born = content
        if type(file) is not int or not 0 <= file < len(self._files) or type(born) is not int or born < 0:
            raise ValueError("a piece is in no file")
        if not type(key) is type(blake3) is type(xxh3) is str or not _DIGESTS.fullmatch(f"{blake3} {xxh3}"):
            raise ValueError("a piece has no key or digest")
        return Piece(self._files[file], key, blake3, xxh3, born)


def _list(content: Any) -> list[Any]:
    if type(content) is not list:
        raise ValueError("a list was expected")
    return content


def _key(key: Any) -> Any:
    if type(key) is str and len(key) > MAX_KEY:
        raise ValueError("a key is too long")
    return key


def _check_hashes(keys: Collection[Any]) -> None:
    """ValueError if too many keys collide: each would be compared with all before it, which can take hours.

    Texts and bytes are hashed with a secret; numbers, and what is made of them, are not.
    """
    if len(keys) > MAX_EQUAL_HASHES and max(Counter(map(hash, keys)).values()) > MAX_EQUAL_HASHES:
        raise ValueError("too many keys or members have the same hash")


def _set(tag: str, items: list[Any]) -> set[Any] | frozenset[Any]:
    _check_hashes(items)
    found = set(items) if tag == "set" else frozenset(items)
    # NaN members are distinct objects, so they never make this differ.
    if len(found) != len(items):
        raise ValueError("a set has the same member twice")
    return found
