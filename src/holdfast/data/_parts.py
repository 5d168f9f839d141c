"""The parts of a loader that decide what it gives, and are told the epoch."""

from __future__ import annotations

from typing import Any

from blake3 import blake3

from ._dataset import Dataset

_ATTRIBUTES = ("batch_sampler", "sampler", "dataset", "transform", "target_transform", "collate_fn")


def parts_of(loader: Any, called: str = "loader") -> dict[str, Any]:
    """The loader, its samplers, datasets (a subset's own dataset too) and transforms, each once, by name."""
    found: dict[str, Any] = {}

    def visit(name: str, part: Any) -> None:
        if part is None or any(part is known for known in found.values()):
            return
        found[name] = part
        for attribute in _ATTRIBUTES:
            visit(f"{name}.{attribute}", _get(part, attribute))

    visit(called, loader)
    return found


def set_epoch(loader: Any, epoch: int) -> None:
    """Call `set_epoch` of every part that has it."""
    for part in parts_of(loader).values():
        if callable(tell := _get(part, "set_epoch")):
            tell(epoch)


def _get(part: Any, attribute: str) -> Any:
    """None where there is no such attribute, and where reading it fails: it is nothing that others read."""
    try:
        return getattr(part, attribute, None)
    except Exception:
        return None


def digest_of_samples(dataset: Any) -> str | None:
    """BLAKE3 of a map-style dataset whose values are in host memory; None for any other.

    Known are `holdfast.data.Dataset`, torch's `TensorDataset`, and a `Subset` of one of them.
    """
    if isinstance(dataset, Dataset):
        return dataset.digest
    if type(dataset).__module__ != "torch.utils.data.dataset":
        return None
    match type(dataset).__name__:
        case "TensorDataset" if all(tensor.device.type == "cpu" for tensor in dataset.tensors):
            return Dataset({str(index): each for index, each in enumerate(dataset.tensors)}).digest
        case "Subset" if (parent := digest_of_samples(dataset.dataset)) is not None:
            return blake3(f"{parent}{[*map(int, dataset.indices)]}".encode()).hexdigest()
    return None
