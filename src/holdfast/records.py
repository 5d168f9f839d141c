"""What crosses the layers: plain frozen records and small protocols, no behaviour of their own.

A *state* is a tree of plain Python data: None, bool, int, float, complex, str, bytes, list, tuple,
set, frozenset, dict, `datetime` objects and `Path`. Where an array stood there is a `Leaf`, where the
same array was met before an `Alias`, and an object that an adapter took apart is an `Object`. The
module `state` makes such trees from live objects and puts them back, `bundle` keeps them on disk, and
neither knows the other.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Any, Literal, Protocol, TypeAlias, runtime_checkable

import numpy as np
import numpy.typing as npt

from . import dtypes

Node: TypeAlias = Any
"""A node of a state tree (see the module's docstring)."""

Bytes: TypeAlias = npt.NDArray[np.uint8]
"""Raw bytes: one-dimensional, C-contiguous uint8."""


@dataclass(frozen=True, slots=True)
class Leaf:
    """The place of an array in a state tree; its bytes are asked for by this record.

    `order` is the memory order of the bytes: "C", or "F" for an array whose transpose is C-contiguous.
    `kind` names what it was ("numpy", "scalar", "bytes", "torch", …), so that it can be made again.
    """

    path: str
    dtype: str
    shape: tuple[int, ...]
    order: Literal["C", "F"] = "C"
    kind: str = "numpy"

    @property
    def size_bytes(self) -> int:
        return prod(self.shape) * dtypes.item_size(self.dtype)


@dataclass(frozen=True, slots=True)
class Alias:
    """Stands where the very array (or object) of `path` was met again: tied weights stay tied."""

    path: str


@dataclass(frozen=True, slots=True)
class Object:
    """An object taken apart: which adapter did it, the type's name (never imported), and its state.

    `about` holds small facts (JSON scalars, lists and dicts) that are no part of the path: flags, versions.
    """

    adapter: str
    type: str
    state: Node
    about: Mapping[str, Any] = field(default_factory=dict)


class Source(Protocol):
    """Where a state's bytes come from: a snapshot in memory or an opened bundle."""

    @property
    def tree(self) -> Node: ...

    def read_into(self, leaf: Leaf, out: Bytes, /) -> None:
        """Fill `out` (`leaf.size_bytes` long) with the leaf's bytes, checked against their digests."""
        ...

    def check(self, leaves: Sequence[Leaf], /) -> None:
        """Read and check every byte of these leaves, and hand none out."""
        ...


class Snapshot(Source, Protocol):
    """A state in host memory that nobody else can change, once it is sealed."""

    def ready(self, leaf: Leaf) -> Bytes:
        """The leaf's bytes, read-only; waits until they have been copied."""
        ...

    def seal(self) -> None:
        """Return when every byte has been copied; nothing unsealed is ever committed."""
        ...


@runtime_checkable
class Streamed(Protocol):
    """A snapshot that need not be in memory whole: asked for a part, it makes just that."""

    def part(self, leaf: Leaf, start: int, size: int, /) -> memoryview:
        """`size` bytes of the leaf from `start` on, a piece as `bundle` cuts it. Called by several threads."""
        ...


class Parts(Protocol):
    """An object whose state is that of named parts, each captured and restored by its own adapter.

    After a restore, `adopt_parts` gets the parts by name: live objects are the same ones, filled in
    place; plain data are new values.
    """

    def state_parts(self) -> Mapping[str, Any]: ...

    def adopt_parts(self, parts: Mapping[str, Any]) -> None: ...


def leaves(tree: Node) -> Iterator[Leaf]:
    """Every leaf of a state, in the order of the tree."""
    match tree:
        case Leaf():
            yield tree
        case Object():
            yield from leaves(tree.state)
        case dict():
            for value in tree.values():
                yield from leaves(value)
        case list() | tuple():
            for value in tree:
                yield from leaves(value)


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """Where a run is. Epoch and batch are 0-based indices; `step` counts finished optimizer updates."""

    run: str
    hook: str
    phase: str | None = None
    epoch: int | None = None
    batch: int | None = None
    step: int = 0


@dataclass(frozen=True, slots=True)
class FileEntry:
    """A file that a record names. `digest` is BLAKE3: of a tree the whole file, of a pack its header."""

    name: str
    size: int
    digest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointRecord:
    """All that is known of a checkpoint without reading its state: the content of `checkpoint.json`."""

    id: str
    name: str
    kind: str  # "train" or "experiment"
    moment: Moment
    seq: int
    created: str  # ISO 8601, UTC, microseconds: sorts as text
    tree: FileEntry
    packs: tuple[FileEntry, ...]
    parent: str | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)
    reason: str = ""
    durability: Literal["full", "process"] = "full"
    versions: Mapping[str, str] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)
    commit: str | None = None
    blocked_s: float = 0.0
    bytes_captured: int = 0
    bytes_written: int = 0
    bytes_shared: int = 0
    details: Mapping[str, Any] = field(default_factory=dict)
    """Facts that a reader may ignore, by name: texts, numbers, booleans, None, and lists and dicts of these."""

    @property
    def run(self) -> str:
        return self.moment.run

    @property
    def age_key(self) -> tuple[int, str, str]:
        """Newest = greatest."""
        return self.seq, self.created, self.id

    @property
    def size_bytes(self) -> int:
        """Bytes of its files, shared ones included, the record's own few aside."""
        return self.tree.size + sum(pack.size for pack in self.packs)
