"""A state in host memory that nobody else can change."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..errors import CheckpointDamagedError
from ..records import Bytes, Leaf, Node
from ._walk import Copier, Walk


def capture(value: Any, *, path: str = "") -> MemorySnapshot:
    """Copy the whole state of `value`, usually a dict of live objects by name.

    Arrays are copied into host memory; live objects may change as soon as this returns. Every leaf's
    path begins with `path`.

    Raises:
        UnsupportedStateError: something in it cannot be saved; it names the path and the type.
    """
    walk = Walk()
    tree = walk.run(value, path)
    return MemorySnapshot(tree, walk.copies)


class MemorySnapshot:
    """The state tree and the bytes of its leaves; a `records.Snapshot`."""

    def __init__(self, tree: Node, copies: Sequence[tuple[Leaf, Copier]]) -> None:
        self._tree = tree
        self._bytes = {leaf.path: _copied(leaf, copy) for leaf, copy in copies}

    @property
    def tree(self) -> Node:
        return self._tree

    @property
    def size_bytes(self) -> int:
        """Bytes of all arrays; a tied one counts once."""
        return sum(data.nbytes for data in self._bytes.values())

    def ready(self, leaf: Leaf) -> Bytes:
        """The leaf's bytes, read-only."""
        data = self._bytes.get(leaf.path)
        if data is None or data.nbytes != leaf.size_bytes:
            raise CheckpointDamagedError(
                "the snapshot in memory", f"it has no leaf {leaf.path!r} of this size"
            )
        return data

    def seal(self) -> None:
        """Every byte was copied when the snapshot was made."""

    def read_into(self, leaf: Leaf, out: Bytes) -> None:
        out[:] = self.ready(leaf)

    def check(self, leaves: Sequence[Leaf]) -> None:
        """Memory is trusted; only that every leaf is there is checked."""
        for leaf in leaves:
            self.ready(leaf)


def _copied(leaf: Leaf, copy: Copier) -> Bytes:
    data = (
        np.zeros(leaf.size_bytes, np.uint8)
        if leaf.dtype.startswith("[")
        else np.empty(leaf.size_bytes, np.uint8)
    )
    if data.nbytes:
        copy(data)
    data.flags.writeable = False
    return data
