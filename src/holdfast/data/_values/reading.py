"""Reading what an object holds, evenly spread where it is much: arrays, tensors, tables, texts, numbers, and containers of them."""

from __future__ import annotations

import os
import sys
from collections import UserDict, deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final, final

import numpy as np
from blake3 import blake3

from .samples import digest_of_samples, kind_of, spread

_SCALARS: Final = (type(None), bool, int, float, complex, str, bytes, np.generic)
_TABLES: Final = ("DataFrame", "Series", "Index", "RangeIndex", "MultiIndex")
_DEEPEST: Final = 8


@final
@dataclass(frozen=True)
class Limits:
    """How much is read of a value.

    Attributes:
        num_places: blocks of an array, and items of a container, spread evenly.
        block_bytes: the size of a block.
        num_objects, num_bytes: of all of it; what comes later counts for nothing.
    """

    num_places: int
    block_bytes: int
    num_objects: int
    num_bytes: int


def digest_of_value(value: Any, limits: Limits) -> str:
    """BLAKE3, the first 32 hexadecimal digits, of what is read of it."""
    reader = _Reader(limits)
    reader.read(value, 0)
    return reader.hasher.hexdigest()[:32]


class _Reader:
    def __init__(self, limits: Limits) -> None:
        self._num_places, self._block_bytes = limits.num_places, limits.block_bytes
        self._objects, self._bytes = limits.num_objects, limits.num_bytes
        self.hasher = blake3()

    def read(self, value: Any, depth: int) -> None:
        self._objects -= 1
        if self._objects < 0 or self._bytes < 0 or depth > _DEEPEST:
            return
        if isinstance(value, _SCALARS):
            self._tell(_of_scalar(value))
        elif (array := as_array(value)) is not None:
            self._read_array(array)
        elif (items := items_of(value)) is not None:
            self._tell(f"{type(value).__name__}{len(items)}")
            for place in spread(len(items), self._num_places):
                self.read(items[place], depth + 1)
        elif kind_of(value) is not None:
            self._tell(str(digest_of_samples(value)))
        elif not callable(value):
            for name, each in sorted(getattr(value, "__dict__", {}).items()):
                self.read((name, each), depth + 1)

    def _read_array(self, array: Any) -> None:
        self._tell(f"{array.dtype}{tuple(array.shape)}")
        for chunk in self._chunks(array):
            self._tell(_bytes_of(chunk))

    def _chunks(self, array: Any) -> Iterator[Any]:
        """Parts of it, along its memory where that is one piece, else along its first axis."""
        flat = array.reshape(-1) if array.ndim == 0 or _is_contiguous(array) else array
        size = array.itemsize if isinstance(array, np.ndarray) else array.element_size()
        row_bytes = max(1, size * int(np.prod(flat.shape[1:])))
        num_rows = max(1, self._block_bytes // row_bytes)
        if len(flat) <= num_rows * self._num_places:
            yield flat
            return
        for start in spread(len(flat) - num_rows + 1, self._num_places):
            yield flat[start : start + num_rows]

    def _tell(self, said: Any) -> None:
        said = said.encode() if isinstance(said, str) else said
        self._bytes -= len(said)
        self.hasher.update(said)
        self.hasher.update(b"\0")


def as_array(value: Any) -> Any:
    """The value as an array of NumPy or a dense tensor of torch, without a copy; None of anything else."""
    if isinstance(value, np.ndarray):
        return None if value.dtype.hasobject else value
    torch: Any = sys.modules.get("torch")
    if torch is not None and isinstance(value, torch.Tensor):
        is_dense = value.layout == torch.strided and value.device.type != "meta" and not value.is_quantized
        return value.detach().resolve_conj().resolve_neg() if is_dense else None
    if type(value).__module__.partition(".")[0] in ("jax", "jaxlib") and hasattr(value, "__array__"):
        return np.asarray(value)
    if (type(value).__module__, type(value).__name__) == (
        "PIL.Image",
        "Image",
    ):  # in memory, unlike its subclasses
        return np.asarray(value)
    return None


def items_of(value: Any) -> Any:
    """What can be read by its place: sequences, entries of dicts, arrays of objects, the parts of tables; None of anything else.

    Those of Python are asked past what a subclass may do as it is read.
    """
    match value:
        case list():
            return value if type(value) is list else [*list.__iter__(value)]
        case tuple():
            return value if type(value) is tuple else [*tuple.__iter__(value)]
        case dict():
            return [*dict.items(value)]
        case deque():
            return [*value]
        case np.ndarray():
            return value.reshape(-1)
        case UserDict():
            return items_of(value.data)
    if not is_of_arrays(value):
        return None
    if type(value).__name__ in _TABLES:
        return _columns(value)
    return [value.shape, *(each for _, each in sorted(vars(value).items()))]


def is_of_arrays(value: Any) -> bool:
    """Whether it is a table of pandas or a sparse array of SciPy."""
    module, _, rest = type(value).__module__.partition(".")
    return (module == "pandas" and type(value).__name__ in _TABLES) or (
        module == "scipy" and rest.startswith("sparse")
    )


def _columns(table: Any) -> list[Any]:
    columns = [table.iloc[:, place] for place in range(table.shape[1])] if table.ndim == 2 else [table]
    names = [*map(str, table.columns)] if table.ndim == 2 else []
    return [names, *(each.to_numpy() for each in columns)]


def _of_scalar(value: Any) -> str:
    """A path counts by its last part: the same files may lie elsewhere."""
    if isinstance(value, str) and os.path.isabs(value) and not any(map(str.isspace, value)):
        value = os.path.basename(value)
    return repr(value)


def _is_contiguous(array: Any) -> bool:
    return array.flags.c_contiguous if isinstance(array, np.ndarray) else array.is_contiguous()


def _bytes_of(chunk: Any) -> memoryview:
    if not isinstance(chunk, np.ndarray):
        torch: Any = sys.modules["torch"]
        chunk = chunk.cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
    return np.ascontiguousarray(chunk).reshape(-1).view(np.uint8).data
