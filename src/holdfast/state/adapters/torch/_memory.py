"""The memory of dense tensors: read, filled and made anew."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from functools import cache
from typing import Any, Final, Literal

import numpy as np
import torch
from torch import _utils

from ....records import Bytes, Leaf
from ..._fit import Fit
from ..._live import Span
from ..._rebuild import Read
from ..._runs import copy_run, put_run
from ._device import DeviceCopies, copies_from


class LiveTensor:
    """The memory of a tensor, its bytes in this order."""

    def __init__(self, tensor: torch.Tensor, order: str = "C") -> None:
        self.owner, self._order = tensor, order

    @property
    def _rows(self) -> torch.Tensor:
        rows = self.owner.detach()
        return _transposed(rows) if self._order == "F" else rows

    def view(self) -> Bytes | None:
        rows = self._rows
        return bytes_of(rows) if _is_plain(rows) else None

    def fill(self, out: Bytes, start: int) -> None:
        rows = self._rows
        copy_run(rows, start // rows.element_size(), torch.from_numpy(out).view(rows.dtype))

    def device(self) -> DeviceCopies | None:
        return copies_from(self.owner.device)

    def send(self, out: Bytes) -> None:
        device = self.device()
        assert device is not None
        rows = self._rows
        device.send(rows, torch.from_numpy(out).view(rows.dtype).reshape(rows.shape))

    def batch(self) -> SmallTensors | None:
        return None

    def span(self) -> Span:
        storage = self.owner.untyped_storage()
        start = storage.data_ptr()
        return Span(_name_of(self.owner.device), start, start + storage.nbytes())

    def stamp(self) -> Hashable:
        """The version that autograd counts, and where the memory is; None where it does not count, or on a device."""
        if self.owner.is_inference() or self.owner.device.type != "cpu":
            return None
        return self.owner._version, self.owner.data_ptr()


class SmallTensor(LiveTensor):
    """The memory of a small tensor on the CPU, whose bytes lie in a row."""

    def device(self) -> None:
        return None

    def batch(self) -> SmallTensors | None:
        return None if self.owner.is_neg() else SMALL


class SmallTensors:
    """Copies many tensors by one call of torch each element type, without threads of torch's: those wait for each other."""

    most_items = 32768 - 1  # torch copies more with several threads

    def prepare(self, memory: Bytes, cuts: Sequence[tuple[int, LiveTensor]]) -> Callable[[], None]:
        by_type: dict[torch.dtype, list[tuple[int, torch.Tensor]]] = {}
        for start, live in cuts:
            by_type.setdefault(live.owner.dtype, []).append((start, live._rows))
        made = [
            (_places(memory, found, dtype), [each for _, each in found]) for dtype, found in by_type.items()
        ]

        @torch.no_grad()
        def copy() -> None:
            for places, rows in made:
                torch._foreach_copy_(places, rows)  # pyright: ignore[reportPrivateImportUsage]

        return copy


def _places(
    memory: Bytes, found: Sequence[tuple[int, torch.Tensor]], dtype: torch.dtype
) -> list[torch.Tensor]:
    """For each tensor a view of the memory from its byte on, in its shape: cut by one call, gaps between them included."""
    gap = torch.empty(1, dtype=dtype)
    like: list[torch.Tensor] = []
    end = found[0][0]
    first = end
    for start, rows in found:
        if start > end:
            like.append(gap.expand((start - end) // dtype.itemsize))
        like.append(rows)
        end = start + rows.nbytes
    flat = torch.from_numpy(memory[first:end]).view(dtype)
    cut = _utils._unflatten_dense_tensors(flat, like)
    return [place for place, each in zip(cut, like, strict=True) if each._base is not gap]


def dtype_name(tensor: torch.Tensor) -> str:
    """The name of its element type, as in `dtypes`."""
    return _name_of(tensor.dtype).removeprefix("torch.")


_name_of = cache(str)
"""Of an element type or a device: making it takes longer than looking it up."""


SMALL: Final = SmallTensors()


def memory_order(tensor: torch.Tensor) -> Literal["C", "F"]:
    return "F" if not tensor.is_contiguous() and _transposed(tensor).is_contiguous() else "C"


def _transposed(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.permute(*reversed(range(tensor.ndim)))


def identity(tensor: torch.Tensor) -> tuple[Any, ...]:
    """Equal for two tensors over the very same memory, if they have one element type and shape."""
    if tensor.is_contiguous() and not tensor.is_conj() and not tensor.is_neg():
        return _name_of(tensor.device), tensor.data_ptr()
    return _name_of(tensor.device), tensor.data_ptr(), tensor.stride(), tensor.is_conj(), tensor.is_neg()


def _is_plain(rows: torch.Tensor) -> bool:
    """Whether its bytes lie in a row in host memory."""
    return rows.is_cpu and rows.is_contiguous() and not rows.is_conj() and not rows.is_neg()


def bytes_of(rows: torch.Tensor) -> Bytes:
    """The bytes of a plain tensor, where they are."""
    if rows.dtype in _OF_NUMPY and rows.numel():  # takes half of the time
        return np.frombuffer(rows.numpy(), np.uint8)
    return rows.view(-1).view(torch.uint8).numpy()


_OF_NUMPY = frozenset((torch.float32, torch.float64, torch.float16, torch.int64, torch.int32, torch.bool))
"""The most frequent element types of those that NumPy has, too."""


def _rows(tensor: torch.Tensor, leaf: Leaf) -> torch.Tensor:
    """The tensor with its axes in the order of the leaf's bytes."""
    return _transposed(tensor) if leaf.order == "F" else tensor


class Filling:
    """Puts the bytes of a leaf into a tensor that is no part of a graph."""

    __slots__ = ("_fit", "_tensor")

    def __init__(self, tensor: torch.Tensor, fit: Fit) -> None:
        self._tensor, self._fit = tensor, fit

    def memory(self, leaf: Leaf) -> Bytes | None:
        """The tensor's own bytes, if they lie in host memory as the leaf's do."""
        rows = _rows(self._tensor, leaf)
        return bytes_of(rows) if _is_plain(rows) else None

    def fill(self, leaf: Leaf) -> None:
        if not leaf.size_bytes:
            return
        rows = _rows(self._tensor, leaf)
        with torch.no_grad():
            for start, data in self._fit.parts(leaf):
                put_run(rows, start // rows.element_size(), torch.from_numpy(data).view(rows.dtype))


def written(tensors: Sequence[torch.Tensor]) -> None:
    """Their memory was written to: autograd must see that as it sees any in-place change."""
    counted = [each for each in tensors if not each.is_inference()]
    try:
        torch.autograd.graph.increment_version(counted)
    except (AttributeError, TypeError):  # before torch 2.6 it takes one at a time
        for each in counted:
            torch.autograd.graph.increment_version(each)


def make_tensor(leaf: Leaf, read: Read) -> torch.Tensor:
    """A new tensor, which is no view to autograd: of one torch refuses `detach_`, as observers of quantisation call it."""
    shape = tuple(reversed(leaf.shape)) if leaf.order == "F" else leaf.shape
    data = torch.empty(leaf.size_bytes, dtype=torch.uint8)
    if leaf.size_bytes:
        read(leaf, data.numpy())
    tensor = _rows(data.view(getattr(torch, leaf.dtype)).reshape(shape), leaf)
    if leaf.axes:
        tensor = tensor.permute(leaf.axes).contiguous().permute(*np.argsort(leaf.axes).tolist())
    return tensor.data
