"""The arrays of a checkpoint where they are on the disk: mapped, not copied."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import numpy as np

from .. import bundle, dtypes, state
from ..records import Alias, Leaf, leaves


class MappedArrays(Mapping[str, np.ndarray]):
    """Arrays by state path, such as `"model_graph/encoder/weight"`: read-only, each checked when first accessed.

    An array is a view of its mapped pack where its pieces are contiguous there, as they do unless
    some were shared with an earlier checkpoint; else, and where it is compressed or not aligned, a copy. Equal
    paths give the same array, and so do tied ones. Tensors and bytes come as arrays too (bfloat16 needs
    `ml_dtypes`); plain values are in `Checkpoint.tree()`.

    Arrays stay valid when the checkpoint is closed, overwritten or deleted: the system keeps a file for as long as
    it is mapped. Access them before it is closed. If something cuts a pack while it is mapped, which Holdfast
    never does, touching an array there ends the process (SIGBUS): map only files that nothing rewrites in place, and
    not over a network that may go away.

    Raises (when an array is accessed):
        KeyError: there is no array of this path.
        PieceDamagedError: its bytes are not what was saved.
        UsageError: it was not accessed before the checkpoint was closed; or the copies would take more
            than `max_bytes`.
        ValueError: NumPy has no such element type.
    """

    def __init__(self, opened: bundle.Bundle, check_memory: Callable[[int], None]) -> None:
        self._bundle, self._check_memory = opened, check_memory
        self._copied_bytes = 0
        tree = opened.tree
        own = {leaf.path: leaf for leaf in leaves(tree)}
        tied = {
            path: own[node.path]
            for path, node in state.entries(tree)
            if type(node) is Alias and node.path in own
        }
        self._leaves: dict[str, Leaf] = own | tied
        self._arrays: dict[str, np.ndarray] = {}

    def __getitem__(self, path: str) -> np.ndarray:
        leaf = self._leaves[path]
        if leaf.path not in self._arrays:
            dtype = dtypes.to_numpy(leaf.dtype)
            if not self._bundle.can_map(leaf):
                self._check_memory(self._copied_bytes + leaf.size_bytes)
                self._copied_bytes += leaf.size_bytes
            items = self._bundle.view(leaf).view(dtype)
            array = items.reshape(leaf.shape[::-1]).T if leaf.order == "F" else items.reshape(leaf.shape)
            self._arrays[leaf.path] = array
        return self._arrays[leaf.path]

    def __contains__(self, path: object) -> bool:
        return path in self._leaves  # without reading it

    def __iter__(self) -> Iterator[str]:
        return iter(self._leaves)

    def __len__(self) -> int:
        return len(self._leaves)

    def __repr__(self) -> str:
        return f"<MappedArrays: {len(self)} arrays of {self._bundle.path}>"
