"""What the machine allows: the same bytes with no format, no digest and no commit."""

from __future__ import annotations

import mmap
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ..states import State, size_bytes, tensors
from ._contender import Loading, Saving

Array = npt.NDArray[np.uint8]
_CHUNK_BYTES = 8 << 20
_THREADS = os.cpu_count() or 1
_NAME = "{}.raw"


class _Kept:
    """Page-aligned memory that is written once and kept."""

    def __init__(self) -> None:
        self.memory = np.empty(0, np.uint8)
        self.pool = ThreadPoolExecutor(_THREADS)

    def of(self, size: int) -> Array:
        if len(self.memory) < size:
            self.memory = np.frombuffer(mmap.mmap(-1, -(-size // 4096) * 4096), np.uint8)
            self.memory[:] = 0  # takes the page faults
        return self.memory[:size]

    def copy(self, state: State) -> Array:
        target = self.of(size_bytes(state))
        at = 0
        jobs = []
        for _, tensor in tensors(state):
            source = bytes_of(tensor)
            for start in range(0, len(source), _CHUNK_BYTES):
                part = source[start : start + _CHUNK_BYTES]
                jobs.append((target[at : at + len(part)], part))
                at += len(part)
        for _ in self.pool.map(lambda job: np.copyto(*job), jobs):
            pass
        return target


class _Copy:
    """The state into kept buffers, by all cores."""

    def __init__(self) -> None:
        self._kept = _Kept()

    def begin(self, root: Path) -> None: ...

    def save(self, state: State, name: str) -> None:
        self._kept.copy(state)

    def finish(self) -> None: ...

    def close(self) -> None:
        self._kept.pool.shutdown()


class _Writev:
    """All arrays by `writev` through the page cache, then fsync."""

    def __init__(self) -> None:
        self._root = Path()

    def begin(self, root: Path) -> None:
        self._root = root

    def save(self, state: State, name: str) -> None:
        rest = [bytes_of(tensor).data for _, tensor in tensors(state)]
        descriptor = os.open(self._root / _NAME.format(name), os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        while rest:
            written = os.writev(descriptor, rest[:1000])
            while rest and written >= len(rest[0]):
                written -= len(rest.pop(0))
            if written:
                rest[0] = rest[0][written:]
        os.fsync(descriptor)
        os.close(descriptor)

    def finish(self) -> None: ...

    def close(self) -> None: ...


class _Direct:
    """As many bytes from aligned memory straight to the disk, two writes on their way at a time."""

    def __init__(self) -> None:
        self._kept = _Kept()
        self._root = Path()

    def begin(self, root: Path) -> None:
        self._root = root

    def save(self, state: State, name: str) -> None:
        size = -(-size_bytes(state) // 4096) * 4096
        memory = self._kept.of(size).data
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_DIRECT
        descriptor = os.open(self._root / _NAME.format(name), flags)

        def write(start: int) -> None:
            os.pwrite(descriptor, memory[start : start + _CHUNK_BYTES], start)

        for _ in self._kept.pool.map(write, range(0, size, _CHUNK_BYTES)):
            pass
        os.fsync(descriptor)
        os.close(descriptor)

    def finish(self) -> None: ...

    def close(self) -> None:
        self._kept.pool.shutdown()


def _pread(root: Path, name: str, live: State) -> None:
    """The raw file straight into the live tensors, by all cores, nothing checked."""
    descriptor = os.open(root / _NAME.format(name), os.O_RDONLY)
    at = 0
    jobs = []
    for _, tensor in tensors(live):
        target = bytes_of(tensor).data
        for start in range(0, len(target), _CHUNK_BYTES):
            part = target[start : start + _CHUNK_BYTES]
            jobs.append((part, at))
            at += len(part)
    with ThreadPoolExecutor(_THREADS) as pool:
        for _ in pool.map(lambda job: os.preadv(descriptor, [job[0]], job[1]), jobs):
            pass
    os.close(descriptor)


def bytes_of(tensor) -> Array:  # a tensor's memory
    return tensor.reshape(-1).numpy().view(np.uint8)


SAVINGS = (
    Saving("limit: copy into kept buffers", _Copy, durable=True, scenarios=frozenset({"S1", "S4"})),
    Saving("limit: writev + fsync", _Writev, durable=True, scenarios=frozenset({"S1"})),
    Saving("limit: O_DIRECT write", _Direct, durable=True, scenarios=frozenset({"S1"})),
)
LOADINGS = (Loading("limit: parallel pread", "limit: writev + fsync", into=_pread),)
