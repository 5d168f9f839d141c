"""What of torch lies in the objects of a run: in containers, and in the attributes of objects that save themselves."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

import torch
from torch.amp.grad_scaler import GradScaler
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from ... import paths, state

_MAX_DEPTH: Final = 4
_MAX_ITEMS: Final = 64  # a longer container holds data


def reached(objects: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Each object once, by its path: modules, optimizers, schedules, scalers, tensors, and whatever else may hold such; no other data."""
    seen: set[int] = set()
    kept: list[Any] = []  # so that ids stay their own

    def below(name: str, value: Any, depth: int) -> Iterator[tuple[str, Any]]:
        if id(value) in seen or depth == 0 or isinstance(value, str | bytes | int | float | None):
            return
        seen.add(id(value))
        kept.append(value)
        if not isinstance(value, dict | list | tuple | state.Attributes):
            yield name, value
        for inner, each in _inside(name, value):
            yield from below(inner, each, depth - 1)

    for name, value in objects.items():
        yield from below(name, value, _MAX_DEPTH)


def _inside(name: str, value: Any) -> Iterable[tuple[str, Any]]:
    match value:
        case torch.nn.Module() | Optimizer() | GradScaler() | torch.Tensor():
            return ()  # a module saves no attributes
        case dict():
            return paths.entries(name, value if len(value) <= _MAX_ITEMS else {})
        case list() | tuple():
            items = enumerate(value) if len(value) <= _MAX_ITEMS else ()
            return [(paths.item(name, index), each) for index, each in items]
        case state.Attributes():
            return [(name, each) for each in value.held()]
        case LRScheduler():
            return [(name, each) for each in getattr(value, "_schedulers", ())]
    saves_itself = hasattr(type(value), "state_dict") or hasattr(type(value), "get_state")
    if not saves_itself or not hasattr(value, "__dict__"):
        return ()
    return [(f"{name}.{attribute}", each) for attribute, each in vars(value).items()]
