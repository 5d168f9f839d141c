"""In which order the axes of an array lie in memory: kernels add in that order, and fused ones pair items by where they lie."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def axes_in_memory(shape: Sequence[int], strides: Sequence[int], item: int = 1) -> tuple[int, ...]:
    """The axes from the outermost to the innermost; none if the items overlap, or there are gaps between them.

    `item`: how far two neighbours are apart, in the unit of `strides`.
    """
    axes = sorted(range(len(shape)), key=lambda axis: (-strides[axis], axis))
    step = item
    for axis in reversed(axes):
        if shape[axis] > 1:
            if strides[axis] != step:
                return ()
            step *= shape[axis]
    return tuple(axes)


def laid_out(array: np.ndarray, axes: Sequence[int]) -> np.ndarray:
    """The array with its axes in memory as `axes` says; a copy, if they are not."""
    return np.ascontiguousarray(array.transpose(axes)).transpose(np.argsort(axes))
