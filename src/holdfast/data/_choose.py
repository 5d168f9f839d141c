"""A resumable source of batches for whatever a user passes as data."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any

from .._wording import a
from ..errors import UsageError
from ._batch import namer
from ._dataset import Dataset
from ._indices import has_state
from ._iterable import IterableBatches
from ._own import DatasetBatches
from ._several import SeveralBatches, Until
from ._source import BatchSource
from ._stateful import StatefulBatches, loses_its_buffer
from ._stream import StreamLoader, is_over_stream
from ._torch_loader import TorchLoaderBatches

BATCHES = "__holdfast_batches__"
"""An attribute of a loader that must not be read directly, and what is read instead."""


def batches_of(
    data: Any,
    *,
    batch_size: int | None = None,
    shuffle: bool = True,
    seed: int = 0,
    drop_last: bool = False,
    columns: Sequence[str] | None = None,
    allow_reread: bool = False,
    raw: bool = False,
) -> BatchSource:
    """The source of batches that resumes most exactly with `data`.

    Args:
        data: a `Dataset` (or a mapping of arrays); a torch `DataLoader`; a loader, or a stream in a `DataLoader`
            without workers, with `state_dict` and `load_state_dict`; a list of batches, or anything that can be
            iterated again.
        batch_size, shuffle, seed, drop_last: for a `Dataset` only; a loader decides for itself.
            Without a batch size all rows are one batch.
        columns: names of a batch's items, in order, where the loader gives tuples or single arrays; a
            selection of columns where they are already named.
        allow_reread: whether a resume may read an epoch again up to its position where nothing else helps.
        raw: hand batches out as the loader gives them, unnamed.

    Raises:
        UsageError: what is given can be read only once (a generator), or is not data.
    """
    data = getattr(data, BATCHES, data)
    if isinstance(data, str | bytes | bytearray):
        raise UsageError(f"data must be a Dataset, a loader or a list of batches, not {data!r}.")
    if isinstance(data, Mapping) and not hasattr(data, "state_dict"):
        data = Dataset(data)
    if isinstance(data, Dataset):
        return DatasetBatches(
            data, batch_size=batch_size, shuffle=shuffle, seed=seed, drop_last=drop_last, columns=columns
        )
    if batch_size is not None or drop_last:
        raise UsageError(
            f"{a(type(data).__name__)} makes its own batches: batch_size and drop_last are for a Dataset"
        )
    as_batch = (lambda batch: batch) if raw else namer(columns)
    torch_data = sys.modules.get("torch.utils.data")
    if torch_data is not None and _is_map_style_loader(data, torch_data):
        return TorchLoaderBatches(data, as_batch)
    rereads = allow_reread and (loses_its_buffer(data) or loses_its_buffer(getattr(data, "dataset", None)))
    if torch_data is not None and is_over_stream(data, torch_data) and not rereads:
        return StatefulBatches(StreamLoader(data), as_batch)
    if has_state(data) and not rereads:
        return StatefulBatches(data, as_batch)
    if torch_data is not None and isinstance(data, torch_data.Dataset) and not rereads:
        raise UsageError(
            f"{type(data).__name__} gives samples, not batches: wrap it in a DataLoader, or read it into memory with "
            "holdfast.data.Dataset.from_torch()"
        )
    return IterableBatches(data, as_batch, allow_reread=allow_reread)


def batches_of_all(
    data: Sequence[Any], *, until: Until, batch_size: int | None, seed: int, allow_reread: bool
) -> BatchSource:
    """The source of `data` as they are given to one loop: tuples of batches if they are several.

    `batch_size` and `seed` are for those of them that are a `Dataset`.

    Raises:
        UsageError: as `batches_of`; or there are none, some are the same object, or `until` has no meaning.
    """
    if not data:
        raise UsageError("batches() takes data: a DataLoader, a list of batches, or a holdfast.data.Dataset.")
    if until not in ("shortest", "longest"):
        raise UsageError(f'until is "shortest" or "longest", not {until!r}.')
    if len({*map(id, data)}) < len(data):
        raise UsageError(
            "the same data were given twice to one loop, and they have one position: make a second loader."
        )
    sources = []
    for each in data:
        is_dataset = isinstance(each, Dataset | Mapping) and not hasattr(each, "state_dict")
        size = batch_size if is_dataset or len(data) == 1 else None
        sources.append(batches_of(each, batch_size=size, seed=seed, raw=True, allow_reread=allow_reread))
    return sources[0] if len(sources) == 1 else SeveralBatches(sources, until)


def _is_map_style_loader(data: Any, torch_data: Any) -> bool:
    """A torch loader whose samples have indices, and whose dataset keeps no state of its own (which only torchdata moves)."""
    return (
        isinstance(data, torch_data.DataLoader)
        and not isinstance(data.dataset, torch_data.IterableDataset)
        and not (hasattr(data, "state_dict") and hasattr(data.dataset, "state_dict"))
    )
