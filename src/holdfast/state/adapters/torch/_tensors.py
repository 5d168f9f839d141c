"""Tensors of every dtype that torch can copy; what is not dense is taken apart into tensors that are."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch.nn.parameter import is_lazy

from .... import dtypes
from ....records import Leaf, Node
from ..._axes import axes_in_memory
from ..._fit import Fit, Make, Planned
from ..._kinds import type_name
from ..._names import Names
from ..._walk import Walk
from ._memory import (
    SMALL,
    Filling,
    LiveTensor,
    SmallTensor,
    bytes_of,
    dtype_name,
    identity,
    memory_order,
    written,
)
from ._nested import Nested
from ._sparse import Sparse

_KNOWN = frozenset(dtypes.plain_names()) - dtypes.SMALL_INTEGERS.keys()  # of which torch has but the names


class Tensor:
    name = "torch.Tensor"
    is_leaf = True

    def claims(self, kind: type) -> bool:
        return issubclass(kind, torch.Tensor)

    def makes_anew(self, live: torch.Tensor) -> bool:
        """Whether a new tensor can stand in its place: of a parameter, or on another device, it could not."""
        is_plain = type(live) is torch.Tensor and not live.requires_grad
        is_dense = live.layout == torch.strided and not is_expanded(live)
        return is_plain and is_dense and live.device.type == "cpu"

    def lies_as(self, live: torch.Tensor, leaf: Leaf) -> bool:
        """Whether its items are in memory in the order that the saved ones were in."""
        return _lie_of(live) == (leaf.order, leaf.axes)

    def capture(self, value: torch.Tensor, walk: Walk, path: str) -> Node:
        if (kind := _kind_of(value)) is None:
            if (why := _obstacle(value)) is not None:
                walk.refuse(path, *why)
            walk.names.add(value, path)
            return (NESTED if value.is_nested else SPARSE).capture(value, walk, path)
        walk.names.add(value, path)
        order, axes = _lie_of(value)
        is_in_a_row = order == "F" or value.is_contiguous()
        is_small = kind.is_batched and value.numel() < SMALL.most_items and is_in_a_row
        return walk.array(
            path,
            dtype=kind.dtype,
            shape=tuple(value.shape),
            order=order,
            axes=axes,
            kind="torch",
            live=(SmallTensor if is_small else LiveTensor)(value, order),
            identity=identity(value),
        )

    def introduce(self, value: torch.Tensor, names: Names, path: str) -> None:
        names.add(value, path)

    def plan(self, live: torch.Tensor, node: Node, fit: Fit, path: str) -> Make:
        fit.names.add(live, path)
        if (kind := _kind_of(live)) is None:
            if (why := _obstacle(live)) is not None:
                return fit.misfit(live, path, f"the live value is a {why[0]}")
            return (NESTED if live.is_nested else SPARSE).plan(live, node, fit, path)
        return fit.together(kind, live, node, path)


def _lie_of(tensor: torch.Tensor) -> tuple[Literal["C", "F"], tuple[int, ...]]:
    """The order and the axes of its leaf."""
    if tensor.is_contiguous():
        return "C", ()
    if memory_order(tensor) == "F":
        return "F", ()
    return "C", axes_in_memory(tensor.shape, tensor.stride())


def is_expanded(tensor: torch.Tensor) -> bool:
    """Whether several of its items share memory, as `expand` makes them."""
    return any(step == 0 and extent > 1 for step, extent in zip(tensor.stride(), tensor.shape, strict=True))


@dataclass(frozen=True, slots=True, eq=False)
class _Kind:
    """What class, element type, layout and device say of a tensor.

    Attributes:
        dtype: its name.
        is_batched: whether small ones are copied many at a time.
        written: what is to be told that the memory of some has been written.
    """

    dtype: str
    is_batched: bool
    written: Callable[[Sequence[torch.Tensor]], None] = written

    def place(self, arrays: Sequence[Planned], fit: Fit) -> None:
        """Let `fit` compare each of these live tensors with its leaf."""
        tensors = [each.live.detach() for each in arrays]
        in_a_row = map(torch.Tensor.is_contiguous, tensors)
        for array, tensor, is_in_a_row in zip(arrays, tensors, in_a_row, strict=True):
            node = array.node
            if not isinstance(node, Leaf) or not node.size_bytes:
                memory, fill = None, None
            elif self.is_batched and is_in_a_row and node.order == "C" and not tensor.is_neg():
                memory, fill = bytes_of(tensor), None
            elif not is_in_a_row and is_expanded(tensor):
                fit.problem(array.path, "the live tensor is expanded: several of its items share memory")
                continue
            else:
                filling = Filling(tensor, fit)
                memory, fill = filling.memory(node), filling.fill
            fit.place(array, self.dtype, tensor.shape, identity(tensor), memory, fill)


_kinds: dict[tuple[Any, ...], _Kind | None] = {}


def _kind_of(tensor: torch.Tensor) -> _Kind | None:
    """Found once for all tensors that are alike; None if it is not dense, or something stands against it."""
    if tensor.is_nested:
        return None
    alike = type(tensor), tensor.dtype, tensor.layout, tensor.device
    if (kind := _kinds.get(alike)) is None and alike not in _kinds:
        is_taken = _form_of(tensor) is None and _obstacle(tensor) is None
        kind = _kinds[alike] = _new_kind(tensor) if is_taken else None
    return kind


def _new_kind(tensor: torch.Tensor) -> _Kind:
    is_batched = type(tensor) in (torch.Tensor, torch.nn.Parameter) and tensor.device.type == "cpu"
    return _Kind(dtype_name(tensor), is_batched and not tensor.dtype.is_complex)


def _form_of(tensor: torch.Tensor) -> Sparse | Nested | None:
    """What takes apart a tensor of this form; None if it is dense."""
    if tensor.is_nested:
        return NESTED
    return SPARSE if tensor.layout in Sparse.layouts else None


def _obstacle(tensor: torch.Tensor) -> tuple[str, str] | None:
    """Why this tensor cannot be taken, and what to do; None if it can."""
    if is_lazy(tensor):
        return "tensor that is not initialised yet", "Run the module once before it is saved."
    if tensor.is_meta:
        return "tensor on the meta device, which has no data", "Give it its data first, or leave it out."
    if tensor.is_quantized:
        hint = "Save its int_repr() with its scale and zero point, or what dequantize() makes of it."
        return f"quantised tensor of dtype {tensor.dtype}", hint
    if dtype_name(tensor) not in _KNOWN:
        return f"tensor of dtype {tensor.dtype}", "View it as one of bytes (torch.uint8) first."
    if _form_of(tensor) is not None:
        return None
    if tensor.layout is not torch.strided:
        return f"tensor of layout {tensor.layout}", "Turn it into a dense tensor first, by to_dense()."
    if hasattr(type(tensor), "__tensor_flatten__"):
        what = f"{type_name(type(tensor))}, which is made of other tensors"
        return what, "Save these, or turn it into a dense tensor first."
    return None


SPARSE, NESTED = Sparse(), Nested()
