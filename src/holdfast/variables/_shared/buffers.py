"""Buffers of a torch module that come and go, or change their shape: class weights of a loss that are set on the way, a queue that grows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .._kinds import is_tensor


def fit_buffers(module: Any, saved: Mapping[str, Any]) -> None:
    """Give `module` buffers of the shapes in a `state_dict`, so that it can be loaded: those that the module knows by name."""
    for path, part in module.named_modules():
        left_out = part._non_persistent_buffers_set
        for name, live in [*part._buffers.items()]:
            then = saved.get(f"{path}.{name}" if path else name)
            if name in left_out or (live is None and then is None):
                continue
            if then is None:
                part._buffers[name] = None
            elif is_tensor(then) and (live is None or live.shape != then.shape or live.dtype != then.dtype):
                like = next((each for each in (live, *module.parameters()) if each is not None), then)
                part._buffers[name] = then.detach().clone().to(like.device)
