"""The parts of a loader that decide what it gives, and are told the epoch."""

from __future__ import annotations

from typing import Any

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


def dataset_of(loader: Any) -> Any:
    """What a loader reads; itself, if it says nothing of that."""
    found = _get(loader, "dataset")
    return loader if found is None else found


def _get(part: Any, attribute: str) -> Any:
    """None where there is no such attribute, and where reading it fails: it is nothing that others read."""
    try:
        return getattr(part, attribute, None)
    except Exception:
        return None
