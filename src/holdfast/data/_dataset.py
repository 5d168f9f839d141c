"""Named columns of arrays with equally many rows: data that know their own digest."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any, final

import numpy as np
import numpy.typing as npt
from blake3 import blake3

from ..errors import UsageError
from ._batch import namer
from ._order import order

_CHUNK_BYTES = 64 * 2**20


@final
class Dataset:
    """Columns by name, each a NumPy array or torch tensor whose first dimension is the row.

    A view: arrays given are not copied (memory-mapped ones are read when needed), and a selection
    copies nothing until its rows are accessed. Do not write into the arrays afterwards: order,
    digest and batches rely on them. `dataset["pixels"]` is a column, `dataset[3]` a row as a dict, so
    it is a map-style dataset for a torch `DataLoader` too.

    Raises:
        UsageError: no column, columns of different length, a column of Python objects or without rows.
    """

    def __init__(self, columns: Mapping[str, Any] | None = None, /, **more: Any) -> None:
        self._arrays = {name: _as_array(name, value) for name, value in {**(columns or {}), **more}.items()}
        self._rows: npt.NDArray[np.int64] | None = None  # None: all of them, as they stand
        lengths = {name: len(array) for name, array in self._arrays.items()}
        if len(set(lengths.values())) != 1:
            raise UsageError(f"a dataset needs columns of equal length, not {lengths}")

    @property
    def columns(self) -> tuple[str, ...]:
        return tuple(self._arrays)

    def __len__(self) -> int:
        return len(next(iter(self._arrays.values()))) if self._rows is None else len(self._rows)

    def __contains__(self, column: object) -> bool:
        return column in self._arrays

    def __getitem__(self, key: str | int) -> Any:
        if isinstance(key, str):
            array = self._column(key)
            return array if self._rows is None else _take(array, self._rows)
        row = int(key) + (len(self) if key < 0 else 0)
        if not 0 <= row < len(self):
            raise IndexError(f"row {key} of {len(self)}")
        at = row if self._rows is None else int(self._rows[row])
        return {name: array[at] for name, array in self._arrays.items()}

    def take(self, rows: npt.NDArray[np.int64], columns: Sequence[str] | None = None) -> dict[str, Any]:
        """These rows of each column (of `columns`, if given), copied: `(len(rows), …)`."""
        rows = rows if self._rows is None else self._rows[rows]
        return {name: _take(self._column(name), rows) for name in columns or self.columns}

    def select(self, indices: slice | Sequence[int] | npt.NDArray[Any]) -> Dataset:
        """The dataset of these rows, in this order; `indices` may also be a mask of bools.

        Raises:
            UsageError: an index is out of range, or not an integer.
        """
        rows = np.arange(len(self), dtype=np.int64) if self._rows is None else self._rows
        try:
            picked = rows[indices if isinstance(indices, slice) else _as_indices(indices)]
        except IndexError as err:
            raise UsageError(f"these rows are not in a dataset of {len(self)}: {err}") from None
        selected = Dataset(self._arrays)
        selected._rows = picked
        return selected

    def split(self, *, seed: int = 0, **fractions: float) -> dict[str, Dataset]:
        """Disjoint parts by name, which together hold every row: `split(train=0.8, test=0.2)`, the default.

        Which rows go where is a function of the seed and the number of rows; in a part they keep their order.

        Raises:
            UsageError: the fractions do not add up to 1, or a part would be empty.
        """
        fractions = fractions or {"train": 0.8, "test": 0.2}
        if min(fractions.values()) <= 0 or abs(sum(fractions.values()) - 1) > 1e-9:
            raise UsageError(f"the fractions of a split are positive and add up to 1, not {fractions}")
        bounds = np.rint(np.cumsum(list(fractions.values())) * len(self)).astype(int)
        parts = np.split(order(seed, 0, len(self)), bounds[:-1])
        for name, rows in zip(fractions, parts, strict=True):
            if not len(rows):
                raise UsageError(f"part {name!r} of {len(self)} rows would be empty ({fractions[name]:g})")
        return {name: self.select(np.sort(rows)) for name, rows in zip(fractions, parts, strict=True)}

    @cached_property
    def digest(self) -> str:
        """BLAKE3 of all that it holds: names, element types, shapes, values; reads everything once."""
        hasher = blake3(max_threads=blake3.AUTO)
        for name, array in self._arrays.items():
            hasher.update(f"{name}\0{array.dtype}\0{(len(self), *array.shape[1:])}\0".encode())
            for chunk in self._chunks(array):
                hasher.update(_bytes_of(chunk))
        return hasher.hexdigest()

    def _chunks(self, array: Any) -> Iterator[Any]:
        size = array.nbytes if isinstance(array, np.ndarray) else array.numel() * array.element_size()
        row_bytes = max(1, size // max(1, len(array)))
        step = max(1, _CHUNK_BYTES // row_bytes)
        for start in range(0, len(self), step):
            stop = min(start + step, len(self))
            yield array[start:stop] if self._rows is None else _take(array, self._rows[start:stop])

    def _column(self, name: str) -> Any:
        if name not in self._arrays:
            raise UsageError(f"there is no column {name!r}; there are {', '.join(map(repr, self.columns))}")
        return self._arrays[name]

    def __repr__(self) -> str:
        shapes = (f"{name}: {array.dtype} {tuple(array.shape[1:])}" for name, array in self._arrays.items())
        return f"Dataset({len(self)} rows; {', '.join(shapes)})"

    @classmethod
    def from_pandas(cls, frame: Any, *columns: str, **arrays: str | Sequence[str]) -> Dataset:
        """Columns of a pandas frame under their own names; keywords join several: `x=["height", "width"]`.

        All columns if none is named. Text becomes NumPy's fixed-width text.
        """
        if not columns and not arrays:
            columns = tuple(map(str, frame.columns))
            frame = frame.set_axis(columns, axis=1)
        wanted = {name: name for name in columns} | arrays
        chosen = {name: part if isinstance(part, str) else list(part) for name, part in wanted.items()}
        named = {each for part in chosen.values() for each in ([part] if isinstance(part, str) else part)}
        if missing := named - set(frame.columns):
            raise UsageError(f"the frame has no columns {sorted(missing)}")
        return cls({name: frame[part].to_numpy() for name, part in chosen.items()})

    @classmethod
    def from_torch(cls, dataset: Any, columns: Sequence[str] = ("x", "y")) -> Dataset:
        """Every sample of a map-style torch dataset, read once, in order, and collated as torch does.

        Args:
            columns: names for the items of a sample, in order; a sample that is a dict keeps its keys.
        """
        from torch.utils.data import default_collate

        samples = default_collate([dataset[index] for index in range(len(dataset))])
        return cls(namer(None if isinstance(samples, Mapping) else columns)(samples))


def _as_array(name: str, value: Any) -> Any:
    array = value if hasattr(value, "dtype") and hasattr(value, "shape") else np.asarray(value)
    if not isinstance(array, np.ndarray) and not hasattr(array, "detach"):
        array = np.asarray(array)  # a pandas Series, a JAX array
    if isinstance(array, np.ndarray) and array.dtype == object:
        if not all(isinstance(one, str) for one in array.flat):
            raise UsageError(f"column {name!r} holds Python objects; give it as numbers or as text")
        array = array.astype(str)
    if array.ndim == 0 or len(array) == 0:
        raise UsageError(f"column {name!r} has no rows (shape {tuple(array.shape)})")
    return array


def _as_indices(indices: Any) -> npt.NDArray[Any]:
    array = np.asarray(indices)
    if array.ndim != 1 or (len(array) and array.dtype.kind not in "iub"):
        raise UsageError(
            f"rows are chosen by a flat list of integers or bools, not {array.dtype} {array.shape}"
        )
    return array if array.dtype == bool else array.astype(np.int64)


def _take(array: Any, rows: npt.NDArray[np.int64]) -> Any:
    if isinstance(array, np.ndarray):
        return np.take(np.asarray(array), rows, axis=0)
    import torch

    return array.index_select(0, torch.from_numpy(rows).to(array.device))


def _bytes_of(chunk: Any) -> bytes | memoryview:
    if not isinstance(chunk, np.ndarray):
        import torch

        chunk = chunk.detach().cpu().contiguous().flatten().view(torch.uint8).numpy()
    return np.ascontiguousarray(chunk).reshape(-1).view(np.uint8).data
