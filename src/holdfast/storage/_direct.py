"""Large files written around the page cache: nearly twice as fast as through it, and no work for the CPU.

Whole pages of page-aligned memory go to the disk from where they are; the rest passes through two
aligned buffers, one filled while the other is on its way. What is left over at the end, less than a
page, goes the usual way.
"""

from __future__ import annotations

import errno
import fcntl
import mmap
import os
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np

from ._protocol import Buffer

PAGE_BYTES = 4096
BUFFER_BYTES = 8 << 20
DIRECT_BYTES = 2 * BUFFER_BYTES  # smaller files gain nothing
_O_DIRECT = getattr(os, "O_DIRECT", 0)


def make_direct(descriptor: int) -> bool:
    """Let writes pass the page cache by; False where the file system cannot."""
    return _O_DIRECT != 0 and _set_direct(descriptor, True)


class DirectWriter:
    """Sequential writing to a descriptor that `make_direct` agreed to; the caller syncs and closes it."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        # Anonymous maps begin at a page, as direct writes want.
        self._buffers = [np.frombuffer(mmap.mmap(-1, BUFFER_BYTES), np.uint8) for _ in range(2)]
        self._used = 0
        self._offset = 0  # in the file, of the buffer being filled
        self._pool: ThreadPoolExecutor | None = ThreadPoolExecutor(1, thread_name_prefix="holdfast-disk")
        self._under_way: Future[None] | None = None

    def skip(self, size: int) -> None:
        self._offset = size

    def write(self, data: Buffer) -> None:
        """Take `data`, which must not change until `flush`."""
        rest = np.frombuffer(data, np.uint8)
        if not self._used and not rest.ctypes.data % PAGE_BYTES and not len(rest) % PAGE_BYTES:
            self._send(rest.data)
            return
        while len(rest):
            part = rest[: BUFFER_BYTES - self._used]
            # NumPy lets other threads run while it copies.
            np.copyto(self._buffers[0][self._used : self._used + len(part)], part)
            self._used += len(part)
            rest = rest[len(part) :]
            if self._used == BUFFER_BYTES:
                self._send_buffer(BUFFER_BYTES)

    def flush(self) -> None:
        """Write what is left; from then on the descriptor writes through the page cache."""
        pages = self._used - self._used % PAGE_BYTES
        tail = bytes(self._buffers[0][pages : self._used])
        if pages:
            self._send_buffer(pages)
        self._wait()
        self._used = 0
        _set_direct(self._descriptor, False)
        write_all(self._descriptor, memoryview(tail), self._offset)

    def stop(self) -> None:
        """Return once nothing is under way, whatever became of it."""
        if self._pool is not None:
            self._pool.shutdown(wait=True)

    def _send_buffer(self, size: int) -> None:
        self._send(self._buffers[0].data[:size])
        self._buffers.reverse()
        self._used = 0

    def _send(self, data: memoryview) -> None:
        self._wait()
        offset, self._offset = self._offset, self._offset + len(data)
        if self._pool is not None:
            try:
                self._under_way = self._pool.submit(write_all, self._descriptor, data, offset)
                return
            except RuntimeError:  # the interpreter is ending, or there are no more threads
                # It may have queued the job; a thread that came later would write what the buffer has by then.
                self._pool.shutdown(cancel_futures=True)
                self._pool = None
        write_all(self._descriptor, data, offset)

    def _wait(self) -> None:
        if self._under_way is not None:
            under_way, self._under_way = self._under_way, None
            under_way.result()


def write_all(descriptor: int, data: memoryview, offset: int) -> None:
    """Write all of `data` at `offset`, however many calls that takes."""
    while data:
        written = os.pwrite(descriptor, data, offset)
        if written == 0:
            raise OSError(errno.EIO, "the disk accepts no more bytes and gives no reason")
        if written % PAGE_BYTES and written < len(data):
            _set_direct(descriptor, False)  # cut within a page: go on where no alignment is asked
        data, offset = data[written:], offset + written


def _set_direct(descriptor: int, on: bool) -> bool:
    flags = fcntl.fcntl(descriptor, fcntl.F_GETFL)
    wanted = flags | _O_DIRECT if on else flags & ~_O_DIRECT
    try:
        fcntl.fcntl(descriptor, fcntl.F_SETFL, wanted)
    except OSError:
        return False
    return True
