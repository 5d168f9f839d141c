"""The memory of dense tensors: read, filled and made anew."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any, Literal

import torch

from ....records import Bytes, Leaf
from ..._fit import Fit
from ..._live import Span
from ..._rebuild import Read
from ..._runs import copy_run, put_run
from ._device import DeviceCopies, copies_from


class LiveTensor:
    """The memory of a tensor, its bytes in this order."""

    def __init__(self, tensor: torch.Tensor, order: str = "C") -> None:
        self.owner = tensor
        tensor = tensor.detach()
        self._rows = _transposed(tensor) if order == "F" else tensor

    def view(self) -> Bytes | None:
        return _bytes(self._rows) if _is_plain(self._rows) else None

    def fill(self, out: Bytes, start: int) -> None:
        first = start // self._rows.element_size()
        copy_run(self._rows, first, torch.from_numpy(out).view(self._rows.dtype))

    def device(self) -> DeviceCopies | None:
        return copies_from(self._rows.device)

    def send(self, out: Bytes) -> None:
        device = self.device()
        assert device is not None
        device.send(self._rows, torch.from_numpy(out).view(self._rows.dtype).reshape(self._rows.shape))

    def span(self) -> Span:
        storage = self._rows.untyped_storage()
        start = storage.data_ptr()
        return Span(str(self._rows.device), start, start + storage.nbytes())

    def stamp(self) -> Hashable:
        """The version that autograd counts, and where the memory is; None where it does not count, or on a device."""
        if self.owner.is_inference() or self.owner.device.type != "cpu":
            return None
        return self.owner._version, self.owner.data_ptr()


def dtype_name(tensor: torch.Tensor) -> str:
    """The name of its element type, as in `dtypes`."""
    return str(tensor.dtype).removeprefix("torch.")


def memory_order(tensor: torch.Tensor) -> Literal["C", "F"]:
    return "F" if not tensor.is_contiguous() and _transposed(tensor).is_contiguous() else "C"


def _transposed(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.permute(*reversed(range(tensor.ndim)))


def identity(tensor: torch.Tensor) -> tuple[Any, ...]:
    return str(tensor.device), tensor.data_ptr(), tensor.stride(), tensor.is_conj(), tensor.is_neg()


def _is_plain(rows: torch.Tensor) -> bool:
    """Whether its bytes lie in a row in host memory."""
    return rows.device.type == "cpu" and rows.is_contiguous() and not rows.is_conj() and not rows.is_neg()


def _bytes(rows: torch.Tensor) -> Bytes:
    """The bytes of a plain tensor, where they are."""
    return rows.reshape(-1).view(torch.uint8).numpy()


def _rows(tensor: torch.Tensor, leaf: Leaf) -> torch.Tensor:
    """The tensor with its axes in the order of the leaf's bytes."""
    return _transposed(tensor) if leaf.order == "F" else tensor


def memory_of(tensor: torch.Tensor, leaf: Leaf) -> Bytes | None:
    """The tensor's own bytes, if they lie in host memory as the leaf's do."""
    rows = _rows(tensor, leaf)
    return _bytes(rows) if _is_plain(rows) else None


@torch.no_grad()
def fill(tensor: torch.Tensor, leaf: Leaf, fit: Fit) -> None:
    memory = memory_of(tensor, leaf)
    if memory is not None:
        fit.read(leaf, memory)
        if not tensor.is_inference():  # autograd must see the change as it sees any in-place change
            torch.autograd.graph.increment_version(tensor)
        return
    rows = _rows(tensor, leaf)
    for start, data in fit.parts(leaf):
        put_run(rows, start // rows.element_size(), torch.from_numpy(data).view(rows.dtype))


def make_tensor(leaf: Leaf, read: Read) -> torch.Tensor:
    shape = tuple(reversed(leaf.shape)) if leaf.order == "F" else leaf.shape
    data = torch.empty(leaf.size_bytes, dtype=torch.uint8)
    if leaf.size_bytes:
        read(leaf, data.numpy())
    return _rows(data.view(getattr(torch, leaf.dtype)).reshape(shape), leaf)
