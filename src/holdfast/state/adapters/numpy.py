"""NumPy: arrays of every dtype that has bytes of its own, scalars, random generators."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from ... import dtypes
from ...records import Bytes, Leaf, Node
from .._fit import Fit, Make
from .._live import LiveArray
from .._rebuild import array_bytes, new_array
from .._runs import put_run
from .._walk import Walk

_LARGE_ITEM_BYTES = 4 << 20  # of a structured type; a part need not hold a complete one


class _Array:
    name = "numpy.ndarray"

    def claims(self, kind: type) -> bool:
        return kind in (np.ndarray, np.memmap)

    def capture(self, value: np.ndarray, walk: Walk, path: str) -> Node:
        order = memory_order(value)
        return walk.array(
            path,
            dtype=walk.dtype_name(value.dtype, path),
            shape=value.shape,
            order=order,
            kind="numpy",
            live=LiveArray(value, order),
            identity=_identity(value),
        )

    def plan(self, live: np.ndarray, node: Node, fit: Fit, path: str) -> Make:
        if not live.flags.writeable:
            return fit.misfit(live, path, "the live array is read-only")

        def memory(leaf: Leaf) -> Bytes | None:
            is_alike = live.flags.c_contiguous if leaf.order == "C" else live.flags.f_contiguous
            return array_bytes(live, leaf.order) if is_alike else None

        def fill(leaf: Leaf) -> None:
            live_bytes = memory(leaf)
            if live_bytes is not None:
                if live.nbytes:
                    fit.read(leaf, live_bytes)
            elif live.itemsize > _LARGE_ITEM_BYTES:
                live[...] = new_array(leaf, fit.read)
            else:
                rows = live.T if leaf.order == "F" else live
                for start, data in fit.parts(leaf):
                    put_run(rows, start // live.itemsize, data.view(live.dtype))

        return fit.array(
            live,
            node,
            path,
            dtype=_dtype_name(live),
            shape=live.shape,
            identity=_identity(live),
            fill=fill,
            memory=memory,
        )


class _Scalar:
    name = "numpy.generic"

    def claims(self, kind: type) -> bool:
        return issubclass(kind, np.generic)

    def capture(self, value: np.generic, walk: Walk, path: str) -> Node:
        dtype = walk.dtype_name(value.dtype, path)
        live = LiveArray(np.frombuffer(np.asarray(value).tobytes(), np.uint8))
        return walk.array(path, dtype=dtype, shape=(), kind="scalar", live=live)

    def plan(self, live: np.generic, node: Node, fit: Fit, path: str) -> Make:
        return fit.replace(live, node, path)


def memory_order(array: np.ndarray) -> Literal["C", "F"]:
    """The memory order in which its bytes are kept: "F" only where the transpose is contiguous and the array itself is not."""
    return "F" if array.flags.f_contiguous and not array.flags.c_contiguous else "C"


def _identity(array: np.ndarray) -> tuple[Any, ...]:
    return array.__array_interface__["data"][0], array.strides


def _dtype_name(array: np.ndarray) -> str:
    try:
        return dtypes.name_of(array.dtype)
    except ValueError:
        return str(array.dtype)


ADAPTERS = (_Array(), _Scalar())
MAKERS = {"numpy": new_array, "scalar": lambda leaf, read: new_array(leaf, read).reshape(1)[0]}
