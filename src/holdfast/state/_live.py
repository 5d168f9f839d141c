"""The memory of live arrays: its bytes, all or a part, as they are when requested."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from ..records import Bytes
from ._runs import copy_run


@dataclass(frozen=True, slots=True)
class Span:
    """Where memory is: all of it that one array keeps alive, so arrays over one storage have equal spans."""

    device: str
    start: int
    end: int


class Live(Protocol):
    """A live array, kept alive.

    Its bytes stand in the order that its leaf says. `owner` is the object that others refer to it by: an
    optimizer its parameters, for instance.
    """

    @property
    def owner(self) -> object: ...

    def view(self) -> Bytes | None:
        """Its bytes where they are, without a copy; None if they do not lie in a row in host memory."""
        ...

    def fill(self, out: Bytes, start: int) -> None:
        """Copy bytes into `out`, from byte `start` of the array on."""
        ...

    def device(self) -> Device | None:
        """The device, if it copies by itself; `send` then does for entire arrays what `fill` does."""
        ...

    def send(self, out: Bytes) -> None:
        """Have the device copy all bytes into `out`, where they are after its `wait`."""
        ...

    def batch(self) -> Batch | None:
        """What copies many arrays like this one in one call; None if it is better copied by itself."""
        ...

    def span(self) -> Span:
        """The memory span that it is part of."""
        ...

    def stamp(self) -> Hashable:
        """Changes whenever the array is written in a way that leaves a trace; None if no write does."""
        ...


class Batch(Protocol):
    """Copies small arrays of one library, of which each would cost more time in Python than its bytes cost."""

    def prepare(self, memory: Bytes, cuts: Sequence[tuple[int, Any]]) -> Callable[[], None]:
        """What copies all bytes of each array into `memory`, from the byte on that stands before it.

        It may be called again as long as each array is over the same memory.
        """
        ...


class Device(Protocol):
    """An accelerator that copies to the host by itself, beside other work."""

    def empty(self, size: int) -> Bytes:
        """New host memory into which it does, `(size,)`."""
        ...

    def begin(self) -> None:
        """Arrays sent from now on are as they are after all work queued so far."""
        ...

    def wait(self) -> None:
        """Return when all that was sent is there."""
        ...


class Gate(Protocol):
    """The only writer of some arrays, which announces its writes."""

    def before(self, call: Callable[[], None]) -> Callable[[], None]:
        """Have `call` called before each write, until the returned function is called."""
        ...


class LiveArray:
    """The memory of a NumPy array, its bytes in this order."""

    def __init__(self, array: np.ndarray, order: str = "C") -> None:
        self.owner = array
        self._rows = np.asarray(array.T if order == "F" else array)

    def view(self) -> Bytes | None:
        # Between the fields of a structured item may be gaps, whose bytes must not vary.
        if not self._rows.flags.c_contiguous or self._rows.dtype.names:
            return None
        return self._rows.reshape(-1).view(np.uint8)

    def fill(self, out: Bytes, start: int) -> None:
        dtype = self._rows.dtype
        first, offset = divmod(start, dtype.itemsize)
        if offset or len(out) % dtype.itemsize:  # a part of an item that is longer than a piece
            items = np.empty(-(-(offset + len(out)) // dtype.itemsize) * dtype.itemsize, np.uint8)
            self.fill(items, first * dtype.itemsize)
            out[:] = items[offset : offset + len(out)]
            return
        if dtype.names:
            out[:] = 0  # the gaps between fields are not copied, and must not vary
        copy_run(self._rows, first, out.view(dtype))

    def device(self) -> Device | None:
        return None

    def send(self, out: Bytes) -> None:
        self.fill(out, 0)

    def batch(self) -> Batch | None:
        return None

    def span(self) -> Span:
        array = self.owner
        start = array.__array_interface__["data"][0]
        reach = [step * (extent - 1) for step, extent in zip(array.strides, array.shape, strict=True)]
        before, after = sum(min(0, each) for each in reach), sum(max(0, each) for each in reach)
        return Span("cpu", start + before, start + after + array.itemsize)

    def stamp(self) -> Hashable:
        return None


class FixedArray(LiveArray):
    """The memory of an array that is never written: a snapshot keeps it alive instead of copying it."""

    def __init__(self, array: np.ndarray) -> None:
        super().__init__(np.ascontiguousarray(array).reshape(array.shape))


def piece(live: Live, start: int, size: int) -> Bytes:
    """`size` bytes from byte `start` on: a view where that can be, else a copy of just these."""
    view = live.view()
    if view is not None:
        return view[start : start + size]
    out = np.empty(size, np.uint8)
    live.fill(out, start)
    return out
