"""The devices of tensors: a state does not say where they were."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Any

from ._kinds import is_tensor


def device_of(value: Any) -> str | None:
    """Where the first tensor in `value` is that is not in host memory; None if there is none."""
    if is_tensor(value):
        return None if value.device.type == "cpu" else str(value.device)
    if isinstance(value, Mapping):
        value = value.values()
    elif not isinstance(value, list | tuple | deque):
        return None
    return next((device for each in value if (device := device_of(each)) is not None), None)


def on_device(value: Any, device: str) -> Any:
    """`value` with its tensors there: containers that can change are the same, others new."""
    if is_tensor(value):
        return value.to(device)
    if isinstance(value, dict):
        for key, each in value.items():
            value[key] = on_device(each, device)
    elif isinstance(value, list | tuple | deque):
        moved = [on_device(each, device) for each in value]
        return deque(moved, value.maxlen) if isinstance(value, deque) else type(value)(moved)
    return value
