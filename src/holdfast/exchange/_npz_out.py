"""Writing `.npz`, for `numpy.load(allow_pickle=False)`. Floats that NumPy lacks become float32, which represents all of them; integers int8 or uint8."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

import numpy as np

from .. import dtypes
from ..bundle import Bundle
from ..numerics import is_number, widen
from ..records import Leaf
from ..storage import NewFiles
from ._choose import Chosen
from ._stream import runs_as_saved
from ._zip_out import zip_file


def write(source: Bundle, chosen: Chosen, files: NewFiles, name: str) -> list[str]:
    """Write one file; returns its name. Of tied arrays only the first name is in it."""
    chosen.check("NumPy", _is_writable)
    with zip_file(files.create(name)) as archive:
        for array, leaf in chosen.arrays.items():
            archive.add(f"{array}.npy", _member(source, leaf))
    return [name]


def _is_writable(leaf: Leaf) -> bool:
    return leaf.dtype != "float4_e2m1fn_x2" and (is_number(leaf.dtype) or not _foreign(leaf))


def _foreign(leaf: Leaf) -> bool:
    return not dtypes.is_in_numpy(leaf.dtype)


def _wider(dtype: str) -> np.dtype[Any]:
    if dtype in dtypes.SMALL_INTEGERS:
        return np.dtype("u1" if dtype.startswith("u") else "i1")
    return np.dtype("<c8" if dtype == "complex32" else "<f4")


def _member(source: Bundle, leaf: Leaf) -> Iterator[bytes | memoryview]:
    foreign = _foreign(leaf)
    wider = _wider(leaf.dtype)
    dtype = wider if foreign else dtypes.to_numpy(leaf.dtype)
    fields: dict[str, Any] = {
        "descr": np.lib.format.dtype_to_descr(dtype),
        "fortran_order": leaf.order == "F",
        "shape": leaf.shape,
    }
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, fields)
    yield header.getvalue()
    for run in runs_as_saved(source, leaf):
        yield widen(run, leaf.dtype).astype(wider).view(np.uint8).data if foreign else run.data
