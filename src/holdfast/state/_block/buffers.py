"""Host memory that is kept between snapshots.

Fresh memory costs several times as much as the copy itself, in page faults: a buffer that has been
written once is copied into at the speed of memory.
"""

from __future__ import annotations

from threading import Lock

import numpy as np

from ...records import Bytes
from .._live import Device

PAGE_BYTES = 4096


class Buffers:
    """Lends buffers and reuses returned ones. Thread-safe."""

    def __init__(self) -> None:
        self._free: list[Bytes] = []
        self._lock = Lock()

    def take(self, size: int, device: Device | None = None) -> Bytes:
        """A buffer of at least `size` bytes, page-aligned, with arbitrary content.

        If it has to be allocated, `device` allocates it, which copies faster into memory of its own.
        """
        with self._lock:
            for index, buffer in enumerate(self._free):
                if len(buffer) >= size:
                    return self._free.pop(index)
            self._free.clear()  # too small for this state, and so for the next one
        return aligned(size, device)

    def give_back(self, buffer: Bytes) -> None:
        """Take `buffer` back: it may be overwritten from now on."""
        with self._lock:
            self._free.append(buffer)


def aligned(size: int, device: Device | None = None) -> Bytes:
    """New memory that begins at a page, `(size,)`, of the device if there is one."""
    raw = np.empty(size + PAGE_BYTES, np.uint8) if device is None else device.empty(size + PAGE_BYTES)
    start = -raw.ctypes.data % PAGE_BYTES
    return raw[start : start + size]
