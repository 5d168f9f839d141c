"""A snapshot that is copied while training continues, and sealed before anything in it changes.

The contract: from the hook to the next `step()`, nothing but the optimizer writes its parameters and its
state. These are copied in a background thread meanwhile; everything else was copied at once. Before the
optimizer writes it calls us (a `Gate`): we wait for the rest, check whether the contract was broken,
and seal. A snapshot that is not sealed is never committed.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from ..errors import SnapshotTornError
from ..records import Bytes, Leaf, Node
from ._block.buffers import Buffers
from ._live import Gate, Live, Span, piece
from ._snapshot import Block, BlockSnapshot
from ._walk import Walk

_SMALL_BYTES = 64 << 10  # smaller arrays are copied at once rather than watched
_COMPARED_BYTES = 1 << 20
_POLL_S = 0.1


def capture_lazily(
    value: Any, *, path: str = "", buffers: Buffers | None = None, exclude: Sequence[str] = (), check: bool
) -> LazySnapshot:
    """The state of `value`; what only an optimizer writes is copied later, but before it is written.

    `check`: copy it now as well, and compare it with the live arrays when the snapshot is sealed.
    To be called by the thread that trains.

    Raises:
        UnsupportedStateError: something in it cannot be saved; it names the path and the type.
        MemoryError: there is no memory for the copy.
    """
    walk = Walk(exclude, with_gates=True)
    tree = walk.run(value, path)
    return LazySnapshot(tree, walk, buffers, check=check)


class LazySnapshot(BlockSnapshot):
    """The state tree and the bytes of its leaves, once it is sealed; a `records.Snapshot`.

    `blocked_s`: how long optimizers had to wait for it. `breach` says how the contract was broken, if it was
    and the snapshot is right nevertheless.
    """

    def __init__(self, tree: Node, walk: Walk, buffers: Buffers | None, *, check: bool) -> None:
        self.tree = tree
        self.blocked_s = 0.0
        self.breach: str | None = None
        self._check = check
        self._torn: SnapshotTornError | None = None
        self._thread, self._process = threading.current_thread(), os.getpid()
        self._lock, self._sealed = threading.Lock(), threading.Event()
        gates = _gated(walk)
        self._watched = [(leaf, live, live.stamp()) for leaf, live in walk.arrays if leaf.path in gates]
        regions = walk.regions()
        self._block = block = Block(regions, buffers)
        later = frozenset() if check else gates.keys()
        copying = block.copying(regions, {leaf.path for leaf, _ in walk.arrays} - later)
        self._copying = block.copying(regions, later)
        try:
            copying.run()
        except BaseException:
            copying.stop()
            self.release()
            raise
        self._copying.begin()
        self._close_gates = [gate.before(self._before_write) for gate in dict.fromkeys(gates.values())]
        if not gates:
            self.finish()

    def read_into(self, leaf: Leaf, out: Bytes) -> None:
        self.seal()
        out[:] = self._block.bytes(leaf)

    def finish(self, *, wait: bool = True) -> None:
        """Copy the rest and seal, or find it torn; with `wait=False` only if all is copied and nothing need be watched.

        To be called by the thread that trains: at the latest when it waits for the save. Raises no error of its own.
        """
        if os.getpid() != self._process:  # a fork has our hooks, but not our threads
            return
        if not wait and (self._check or not self._copying.is_done):
            return
        with self._lock:
            if self._sealed.is_set():
                return
            try:
                self._copying.finish()
                self._compare()
            except Exception as err:
                self._torn = SnapshotTornError("the state", f"it could not be copied ({err!r})")
            except BaseException:
                self._torn = SnapshotTornError("the state", "copying it was interrupted")
                raise
            finally:
                self._copying.stop()
                for close in self._close_gates:
                    close()
                self._sealed.set()

    def seal(self) -> None:
        """Return once it is sealed.

        Raises:
            SnapshotTornError: an array was changed before its copy was safe.
        """
        while not self._sealed.wait(_POLL_S):
            if not self._thread.is_alive():  # training has ended, so nothing will call `finish`
                self.finish()
        if self._torn is not None:
            raise self._torn

    def release(self) -> None:
        super().release()
        self._watched = []

    def _before_write(self) -> None:
        began_s = time.perf_counter()
        self.finish()
        self.blocked_s += time.perf_counter() - began_s

    def _compare(self) -> None:
        """Check whether anything but the optimizer wrote what only it may write."""
        for leaf, live, stamp in self._watched:
            traced = live.stamp() != stamp
            if traced and not self._check:
                # Whether the copy preceded the write cannot be known: a version is counted after the write.
                why = "it was changed between the hook and step(), by an in-place operation or a new .data"
                self._torn = SnapshotTornError(leaf.path, why)
                return
            if traced or (self._check and not _equal(self._block.bytes(leaf), live)):
                how = "" if traced else ", in a way that leaves no trace"
                self.breach = f"{leaf.path!r} was changed between the hook and step(){how}"
                return


def _gated(walk: Walk) -> dict[str, Gate]:
    """The leaves that only one optimizer writes, by path, and its gate.

    Arrays over one memory go together: if one of them is not the optimizer's, none is.
    """
    gated: dict[str, Gate] = {}
    for group in _by_memory(walk):
        gates = {walk.gates.get(id(live.owner)) for _, live in group}
        gate = gates.pop()
        if gates or gate is None or any(live.stamp() is None for _, live in group):
            continue
        gated |= {leaf.path: gate for leaf, _ in group if leaf and leaf.size_bytes >= _SMALL_BYTES}
    return gated


def _by_memory(walk: Walk) -> Iterator[list[tuple[Leaf | None, Live]]]:
    """The arrays in groups whose memory overlaps."""
    members: list[tuple[Leaf | None, Live]] = [*walk.arrays, *((None, live) for live in walk.tied)]
    spans = [(live.span(), leaf, live) for leaf, live in members]
    spans.sort(key=lambda entry: (entry[0].device, entry[0].start))
    group: list[tuple[Leaf | None, Live]] = []
    reach = Span("", 0, 0)
    for span, leaf, live in spans:
        if group and (span.device != reach.device or span.start >= reach.end):
            yield group
            group = []
        reach = span if not group else Span(span.device, reach.start, max(reach.end, span.end))
        group.append((leaf, live))
    if group:
        yield group


def _equal(copied: Bytes, live: Live) -> bool:
    return all(
        np.array_equal(
            copied[start : start + _COMPARED_BYTES],
            piece(live, start, min(_COMPARED_BYTES, len(copied) - start)),
        )
        for start in range(0, len(copied), _COMPARED_BYTES)
    )
