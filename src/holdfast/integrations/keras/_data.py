"""The data of a fit: whether they come again as they came, and what is known of them."""

from __future__ import annotations

from functools import cached_property
from typing import Any, final

import keras
import numpy as np

from ...data import Dataset, HeldValues, batches_of, dataset_of, holds_samples
from ...errors import UsageError

_SAMPLES, _TORCH = "ArrayDataAdapter", "TorchDataLoaderAdapter"


@final
class FitData:
    """What the epoch iterator of a fit goes through.

    Args:
        validation: what it is validated with after each epoch: inputs, targets and weights of samples; None of what is not given.
    """

    def __init__(self, iterator: Any, validation: tuple[Any, ...]) -> None:
        self._validation = _about_validation(validation)
        self._iterator, self._adapter = iterator, iterator.data_adapter
        self._kind = type(self._adapter).__name__
        self._loader = batches_of(self._adapter._dataloader, raw=True) if self._kind == _TORCH else None

    @property
    def exactness(self) -> str:
        """`"exact"`, or on what it depends that the data of an epoch come again as they came."""
        if self._iterator.steps_per_epoch is not None:
            return "exact within the first epoch only: with steps_per_epoch an epoch's data depend on the epochs before"
        if self._kind == _SAMPLES:
            return "exact"
        if self._kind == _TORCH:
            loader = self._adapter._dataloader
            is_plain = hasattr(loader.dataset, "__getitem__") and not loader.num_workers
            if is_plain and self._loader is not None and not self._loader.generators:
                return "exact"
        return f"exact if the data of an epoch depend on nothing but the random states at its start ({self._kind})"

    @property
    def about(self) -> dict[str, Any]:
        """Plain facts that decide which batches come; arrays in host memory are read for it, once."""
        about = self._of_arrays if self._loader is None else self._loader.describe()
        return {**about, "the validation data": self._validation}

    @cached_property
    def _of_arrays(self) -> dict[str, Any]:
        batches = {"num_batches": self._adapter.num_batches, "batch_size": self._adapter.batch_size}
        if self._kind != _SAMPLES:
            return batches
        adapter = self._adapter
        facts = {"size": adapter._num_samples, "shuffle": bool(adapter._shuffle)}
        return {**batches, **facts, "digest": _digest(adapter._inputs)}


def _about_validation(given: tuple[Any, ...]) -> dict[str, Any]:
    """Of data that decide when a fit stops, and which model is its best."""
    inputs = next(iter(given), None)
    if inputs is None:
        return {"kind": "none"}
    if holds_samples(inputs):
        return {"kind": "loader", **HeldValues(dataset_of(inputs)).facts()}
    are_arrays = all(hasattr(each, "shape") for each in keras.tree.flatten(given) if each is not None)
    return {"kind": "arrays", "digest": _digest(given)} if are_arrays else {"kind": type(inputs).__name__}


def _digest(inputs: Any) -> str | None:
    """BLAKE3 of all arrays; None if one is of a kind that is read otherwise, such as a ragged tensor."""
    flat = [each for each in keras.tree.flatten(inputs) if each is not None]
    arrays = {str(index): each if _is_torch(each) else np.asarray(each) for index, each in enumerate(flat)}
    try:
        return Dataset(arrays).digest
    except (UsageError, TypeError):
        return None


def _is_torch(value: Any) -> bool:
    return type(value).__module__ == "torch"
