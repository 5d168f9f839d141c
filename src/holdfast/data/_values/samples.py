"""A digest of the samples of a dataset whose kind is known."""

from __future__ import annotations

from typing import Any

from blake3 import blake3

from .._dataset import Dataset
from .contents import digest_of_batch

_MOST_SAMPLES = 256


def digest_of_samples(dataset: Any) -> str | None:
    """BLAKE3 of the samples of a map-style dataset, as far as they can be read without code of a script's; None where they cannot.

    Known are `holdfast.data.Dataset` and torch's `TensorDataset`, of which all is read; lists and tuples of arrays and plain data, and
    Hugging Face's `datasets.Dataset`, of which 256 samples are, spread evenly; torch's `Subset` and `ConcatDataset` of these.
    """
    if isinstance(dataset, Dataset):
        return dataset.digest
    if isinstance(dataset, list | tuple):
        return digest_of_batch([len(dataset), *(dataset[row] for row in spread(len(dataset)))])
    match kind_of(dataset):
        case "datasets.Dataset":
            samples = dataset.with_format("arrow")[spread(len(dataset))].to_pylist()
            return blake3(repr((len(dataset), samples)).encode()).hexdigest()
        case "torch.TensorDataset":
            if all(tensor.device.type == "cpu" for tensor in dataset.tensors):
                return Dataset({str(index): each for index, each in enumerate(dataset.tensors)}).digest
        case "torch.Subset":
            if (parent := digest_of_samples(dataset.dataset)) is not None:
                return blake3(f"{parent}{[*map(int, dataset.indices)]}".encode()).hexdigest()
        case "torch.ConcatDataset":
            parents = [*map(digest_of_samples, dataset.datasets)]
            if None not in parents:
                return blake3(f"{parents}".encode()).hexdigest()
    return None


def kind_of(dataset: Any) -> str | None:
    """Which of the datasets of libraries it is whose samples are read by their kind; None of any other, and of a subclass."""
    match type(dataset).__module__, type(dataset).__name__:
        case "datasets.arrow_dataset", "Dataset":
            return "datasets.Dataset"
        case "torch.utils.data.dataset", "TensorDataset" | "Subset" | "ConcatDataset":
            return f"torch.{type(dataset).__name__}"
    return None


def spread(number: int, most: int = _MOST_SAMPLES) -> list[int]:
    """The places that are read of so many: all of a few, else `most` at even distances, the first and the last among them."""
    if number <= most:
        return [*range(number)]
    return [place * (number - 1) // (most - 1) for place in range(most)]
