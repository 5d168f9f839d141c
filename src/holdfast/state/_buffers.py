"""Host memory that is kept between snapshots.

Fresh memory costs several times as much as the copy itself, in page faults: a buffer that has been
written once is copied into at the speed of memory.
"""

from __future__ import annotations

from threading import Lock

import numpy as np

from ..records import Bytes

PAGE_BYTES = 4096


class Buffers:
    """Lends buffers; one that was given back is lent again. Thread-safe."""

    def __init__(self) -> None:
        self._free: list[Bytes] = []
        self._lock = Lock()

    def take(self, size: int) -> Bytes:
        """A page-aligned buffer of at least `size` bytes, with anything in it."""
        with self._lock:
            for index, buffer in enumerate(self._free):
                if len(buffer) >= size:
                    return self._free.pop(index)
            self._free.clear()  # too small for this state, so for the next one too
        return aligned(size)

    def give_back(self, buffer: Bytes) -> None:
        """`buffer` may be overwritten from now on."""
        with self._lock:
            self._free.append(buffer)


def aligned(size: int) -> Bytes:
    """New memory that begins at a page, `(size,)`."""
    raw = np.empty(size + PAGE_BYTES, np.uint8)
    start = -raw.ctypes.data % PAGE_BYTES
    return raw[start : start + size]
