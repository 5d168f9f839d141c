"""The parts of somebody else's loader that decide what it gives: told the epoch, and their generators kept."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from blake3 import blake3

from .. import rng
from ..errors import UsageError
from ._dataset import Dataset

_ATTRIBUTES = ("batch_sampler", "sampler", "dataset", "transform", "target_transform", "collate_fn")


def parts_of(loader: Any) -> dict[str, Any]:
    """The loader, its samplers, datasets (a subset's own dataset too) and transforms, each once, by name."""
    found: dict[str, Any] = {}

    def visit(name: str, part: Any) -> None:
        if part is None or any(part is known for known in found.values()):
            return
        found[name] = part
        for attribute in _ATTRIBUTES:
            visit(f"{name}.{attribute}", getattr(part, attribute, None))

    visit("loader", loader)
    return found


def set_epoch(loader: Any, epoch: int) -> None:
    """Call `set_epoch` of every part that has it."""
    for part in parts_of(loader).values():
        if callable(tell := getattr(part, "set_epoch", None)):
            tell(epoch)


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
        case "Subset" if (whole := digest_of_samples(dataset.dataset)) is not None:
            return blake3(f"{whole}{[*map(int, dataset.indices)]}".encode()).hexdigest()
    return None


class OwnGenerators:
    """The random generators that a loader's parts hold as attributes, each once, by `part.attribute`.

    One that is hidden deeper (in a closure, or in the list of a `Compose`) is not found.
    """

    def __init__(self, loader: Any) -> None:
        self.by_name: dict[str, Any] = {}
        for name, part in parts_of(loader).items():
            for attribute, value in getattr(part, "__dict__", {}).items():
                if rng.is_generator(value) and not any(value is known for known in self.by_name.values()):
                    self.by_name[f"{name}.{attribute}"] = value

    @property
    def in_workers(self) -> dict[str, Any]:
        """Those that are copied into worker processes, and move there."""
        return {
            name: each
            for name, each in self.by_name.items()
            if name != "loader.generator" and "sampler" not in name
        }

    def get_state(self) -> dict[str, Any]:
        return {name: rng.generator_state(generator) for name, generator in self.by_name.items()}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Raises `UsageError`, and sets nothing, unless it holds the same names as here."""
        if set(state) != set(self.by_name):
            raise UsageError(
                f"the loader had random generators at {sorted(state)} and has them at {sorted(self.by_name)}. "
                "Build it with the same generator= and samplers as when it was saved."
            )
        for name, one in state.items():
            rng.set_generator_state(self.by_name[name], one)
