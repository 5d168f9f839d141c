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
from functools import lru_cache
from math import prod
from typing import Any, Literal, NamedTuple, Protocol, TypeAlias

import msgspec
import numpy as np
import numpy.typing as npt

from . import dtypes

RESERVED = ("run", "results", "random")
"""Top-level names of a training loop's state that the library keeps for itself."""

VARIABLES = "variables"
"""Top-level name of the script's own variables in a training loop's state, where there are any."""

MODELS = "model_graph"
"""The part of an experiment's state that holds its models and optimizers."""

MANUAL = "by_hand"
"""Stands in the moment of a checkpoint saved on request, in place of a hook."""

BY_RANK = "by rank"
"""The adapter of values that each of several processes has for itself."""

STANDALONE = "save"
IMPORTED = "import"
"""Stand in place of a hook in checkpoints that no run saved: of `holdfast.save`, and of an import."""

Node: TypeAlias = Any
"""A node of a state tree (see the module's docstring)."""

PLAIN: frozenset[type] = frozenset((type(None), bool, int, float, str))
"""Types of nodes that are what they say, and hold no other: most of a tree."""

Bytes: TypeAlias = npt.NDArray[np.uint8]
"""Raw bytes: one-dimensional, C-contiguous uint8."""


# There is one for every array. As a struct it is made in a third of the time that a dataclass takes, and the garbage
# collector need not look at it: it cannot be part of a cycle.
class Leaf(msgspec.Struct, frozen=True, gc=False):
    """The place of an array in a state tree; its bytes are requested with this record.

    `order` is the memory order of the bytes: "C", or "F" for an array whose transpose is C-contiguous.
    `axes` is empty, or names the axes from the outermost to the innermost in memory, of an array without gaps whose
    items lie in neither order (channels_last); its bytes are in C order all the same.
    `kind` names what it was ("numpy", "scalar", "bytes", "torch", …), so that it can be rebuilt.
    `size_bytes` follows from the others.
    """

    path: str
    dtype: str
    shape: tuple[int, ...]
    order: Literal["C", "F"] = "C"
    kind: str = "numpy"
    size_bytes: int = -1
    axes: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        msgspec.structs.force_setattr(self, "size_bytes", _size_bytes(self.dtype, self.shape))


class Box(Leaf, frozen=True, gc=False):
    """A rectangular part of an array: `shape` is its own, `of` the array's; `offset` is where in the array it begins.

    In a state: what this process holds of an array that several processes have together. Requested of a source: the part
    of the array at `path` that is wanted, its bytes in C order.
    """

    of: tuple[int, ...] = ()
    offset: tuple[int, ...] = ()


@lru_cache(maxsize=4096)  # a state repeats few shapes many times
def _size_bytes(dtype: str, shape: tuple[int, ...]) -> int:
    return prod(shape) * dtypes.item_size(dtype)


PAGE_BYTES = 4096

Rank: TypeAlias = tuple[bool, int, bool]


def packed_rank(dtype: str, size_bytes: int) -> Rank:
    """By this, arrays (or pieces of them) are sorted to lie side by side without holes, each aligned to its items.

    Complete pages come first, the others by falling alignment, and of these what is smaller than a page last: it is what
    most often occurs twice, and so leaves a hole where it is not written again.
    """
    is_odd = size_bytes % PAGE_BYTES != 0
    return is_odd, is_odd * -dtypes.alignment_of(dtype), is_odd and size_bytes < PAGE_BYTES


@dataclass(frozen=True, slots=True)
class Alias:
    """Stands where an array (or object) already met at `path` occurs again, so that tied weights stay tied."""

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

    def read_all(self, wanted: Sequence[tuple[Leaf, Bytes]], /) -> None:
        """`read_into` for many leaves, in any order; nothing is written to the buffers after this returns."""
        ...

    def parts(self, leaf: Leaf, /) -> Iterator[tuple[int, Bytes]]:
        """The leaf's bytes in order, checked, a bounded part at a time, as (offset, bytes).

        A part is a number of complete items, unless one is larger than 4 MiB; it is valid until the next is requested.
        """
        ...

    def check(self, leaves: Sequence[Leaf], /) -> None:
        """Read and check every byte of these leaves, without returning any."""
        ...


class Range(Protocol):
    """`size` bytes of a leaf, from byte `start` on."""

    @property
    def leaf(self) -> Leaf: ...
    @property
    def start(self) -> int: ...
    @property
    def size(self) -> int: ...


class Extent(NamedTuple):
    """Bytes `start` to `end` of some memory, which nothing changes."""

    memory: memoryview
    start: int
    end: int

    @property
    def data(self) -> memoryview:
        return self.memory[self.start : self.end]


class Snapshot(Protocol):
    """A state to be saved; once sealed, it does not change."""

    @property
    def tree(self) -> Node:
        """Nothing in it is ever changed: a dict or an object that the trees of two snapshots have in common says the same in both."""
        ...

    @property
    def is_live(self) -> bool:
        """Whether bytes come from live memory; then code that reads them twice must check that they are the same."""
        ...

    @property
    def in_place(self) -> bool:
        """Whether all pieces are views; if not, some are made when requested, and few should be held at once."""
        ...

    def pieces(self, wanted: Sequence[Range]) -> list[memoryview]:
        """The bytes of each of these, to be read only."""
        ...

    def extent(self, wanted: Sequence[Range]) -> Extent | None:
        """Where the bytes of all of these are, if they lie side by side in this order in memory of its own."""
        ...

    def seal(self) -> None:
        """Return when every byte has been copied; nothing unsealed is ever committed."""
        ...


class Ranked(Protocol):
    """Which of several processes this one is: a crew says it."""

    @property
    def rank(self) -> int: ...

    @property
    def size(self) -> int: ...


class ByRank:
    """A value that each of several processes has for itself: its random states, its place in the data.

    Of all else in a state that processes save together it is taken that they have it alike, and that of rank 0 is saved. As many
    processes get back what each had; another number of them keeps what it has.

    Args:
        value: what belongs to this process; after a restore `value` is what was saved.
        crew: the processes.
    """

    def __init__(self, value: Any, crew: Ranked) -> None:
        self.value, self.rank, self.size = value, crew.rank, crew.size


class OwnPart(ByRank):
    """What a process of a run keeps besides the objects of the run. An array that it has in common with these is saved in both."""


class Parts(Protocol):
    """An object whose state is that of named parts, each captured and restored by its own adapter.

    After a restore, `adopt_parts` gets the parts by name: live objects are the same ones, filled in
    place; plain data are new values.
    """

    def state_parts(self) -> Mapping[str, Any]: ...

    def adopt_parts(self, parts: Mapping[str, Any]) -> None: ...


def leaves(tree: Node) -> Iterator[Leaf]:
    """Every leaf of a state, in the order of the tree."""
    return (node for node in leaves_and_aliases(tree) if isinstance(node, Leaf))


def leaves_and_aliases(tree: Node) -> Iterator[Leaf | Alias]:
    """As `leaves`, and every alias in its place."""
    waiting = [tree]  # a stack: generators within generators would cost each leaf its depth
    while waiting:
        node = waiting.pop()
        if isinstance(node, Leaf | Alias):
            yield node
        elif isinstance(node, Object):
            waiting.append(node.state)
        elif isinstance(node, dict):
            waiting += [value for value in reversed(node.values()) if type(value) not in PLAIN]
        elif isinstance(node, list | tuple):
            waiting += [value for value in reversed(node) if type(value) not in PLAIN]


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
    """A file that a record names. `digest` is BLAKE3: of a tree the entire file, of a pack its header."""

    name: str
    size: int
    digest: str


@dataclass(frozen=True, slots=True)
class PartEntry(FileEntry):
    """What one of several processes wrote: `digest` is BLAKE3 of the entire file, `packs_size` the bytes of its packs."""

    packs_size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointRecord:
    """Everything known of a checkpoint without reading its state: the content of `checkpoint.json`."""

    id: str
    name: str
    kind: str  # "train" or "experiment"
    moment: Moment
    seq: int
    created: str  # ISO 8601, UTC, microseconds: sorts as text
    tree: FileEntry
    packs: tuple[FileEntry, ...]
    parts: tuple[PartEntry, ...] = ()  # by rank, if several processes saved it together
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
        """Bytes of all its files, shared ones included, except the record itself."""
        of_parts = sum(part.size + part.packs_size for part in self.parts)
        return self.tree.size + sum(pack.size for pack in self.packs) + of_parts
