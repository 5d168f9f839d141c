"""Copying tensors from an accelerator to the host: pinned memory, a separate stream, one event to wait for.

Works with every device whose torch module has streams and events (CUDA, ROCm, XPU); tensors of others are copied
one by one, as `LiveTensor.fill` does.
"""

from __future__ import annotations

from typing import Any

import torch

from ....records import Bytes


class DeviceCopies:
    """Copies from one device that run beside its other work. For one thread at a time."""

    def __init__(self, device: torch.device, module: Any) -> None:
        self._device, self._module = device, module
        self._stream = module.Stream(device)
        self._event = module.Event()

    def empty(self, size: int) -> Bytes:
        """New pinned memory, `(size,)`: only into such memory does a device copy by itself."""
        return torch.empty(size, dtype=torch.uint8, pin_memory=True).numpy()

    def begin(self) -> None:
        """Tensors sent from now on are as the work queued so far will have left them."""
        self._stream.wait_stream(self._module.current_stream(self._device))

    def send(self, rows: torch.Tensor, out: torch.Tensor) -> None:
        """Copy `rows` into host memory; it is there after `wait`, and must not change before."""
        with self._module.stream(self._stream):
            out.copy_(rows, non_blocking=True)

    def wait(self) -> None:
        """Return when all that was sent is in host memory."""
        self._event.record(self._stream)
        self._event.synchronize()


_by_device: dict[torch.device, DeviceCopies | None] = {}


def copies_from(device: torch.device) -> DeviceCopies | None:
    """How this device's tensors get to the host beside its other work; None for the CPU and what has no streams."""
    if device not in _by_device:
        module = None if device.type == "cpu" else getattr(torch, device.type, None)
        has_streams = all(hasattr(module, name) for name in ("Stream", "Event", "stream", "current_stream"))
        _by_device[device] = DeviceCopies(device, module) if has_streams else None
    return _by_device[device]
