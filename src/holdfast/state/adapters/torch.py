"""torch: tensors of every dtype that torch can copy, its random generators, its sizes, element types and devices."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any, Literal

import torch
from torch.nn.parameter import is_lazy

from ... import dtypes
from ...records import Bytes, Leaf, Node, Object
from .._fit import Fit, Make
from .._live import Span
from .._names import Names
from .._rebuild import Read
from .._runs import copy_run, put_run
from .._walk import Walk, type_name
from .torch_device import DeviceCopies, copies_from
from .values import Value


class _Tensor:
    name = "torch.Tensor"

    def claims(self, kind: type) -> bool:
        return issubclass(kind, torch.Tensor)

    def capture(self, value: torch.Tensor, walk: Walk, path: str) -> Node:
        dtype, why = dtype_name(value), _obstacle(value)
        if why is not None:
            walk.refuse(path, why, "Turn it into a dense tensor in memory first.")
        walk.names.add(value, path)
        tensor = value.detach()
        order = _memory_order(tensor)

        return walk.array(
            path,
            dtype=dtype,
            shape=tuple(value.shape),
            order=order,
            kind="torch",
            live=LiveTensor(value, order),
            identity=_identity(tensor),
        )

    def introduce(self, value: torch.Tensor, names: Names, path: str) -> None:
        names.add(value, path)

    def plan(self, live: torch.Tensor, node: Node, fit: Fit, path: str) -> Make:
        why = _obstacle(live)
        fit.names.add(live, path)
        if why is not None:
            return fit.misfit(live, path, f"the live value is a {why}")
        tensor = live.detach()
        if any(step == 0 and extent > 1 for step, extent in zip(tensor.stride(), tensor.shape, strict=True)):
            return fit.misfit(live, path, "the live tensor is expanded: several of its items share memory")

        def fill(leaf: Leaf) -> None:
            if leaf.size_bytes:
                _fill(tensor, leaf, fit)

        return fit.array(
            live,
            node,
            path,
            dtype=dtype_name(live),
            shape=tuple(live.shape),
            identity=_identity(tensor),
            fill=fill,
            memory=lambda leaf: _memory(tensor, leaf),
        )


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


class _Generator:
    """`torch.Generator`, of any device; a live one is set in place."""

    name = "torch.Generator"

    def claims(self, kind: type) -> bool:
        return issubclass(kind, torch.Generator)

    def capture(self, value: torch.Generator, walk: Walk, path: str) -> Node:
        state = {"state": walk.node(value.get_state(), walk.child(path, "state"))}
        return Object(self.name, type_name(type(value)), state, {"device": value.device.type})

    def plan(self, live: torch.Generator, node: Node, fit: Fit, path: str) -> Make:
        taken = fit.object_of(self.name, live, node, path, holds=dict)
        if taken is None:
            return fit.keep(live)
        if taken.about.get("device") != live.device.type:
            what = (
                f"a generator of {taken.about.get('device')} was saved, the live one is of {live.device.type}"
            )
            return fit.misfit(live, path, what)
        state = fit.into(live.get_state(), taken.state.get("state"), f"{path}/state" if path else "state")

        def act() -> torch.Generator:
            live.set_state(state())
            return live

        return act

    def fresh(self, state: Any, taken: Object) -> Any:
        if taken.about.get("device") != "cpu":
            return state
        return torch.Generator().set_state(torch.as_tensor(state["state"]))


def dtype_name(tensor: torch.Tensor) -> str:
    """The name of its element type, as in `dtypes`."""
    return str(tensor.dtype).removeprefix("torch.")


def _obstacle(tensor: torch.Tensor) -> str | None:
    """Why this tensor has no bytes of its own; None if it has."""
    if is_lazy(tensor):
        return "tensor that is not initialised yet"
    if tensor.is_meta:
        return "tensor on the meta device, which has no data"
    if tensor.is_nested or tensor.layout is not torch.strided:
        return f"tensor of layout {tensor.layout}"
    if tensor.is_quantized or not _is_known(dtype_name(tensor)):
        return f"tensor of dtype {tensor.dtype}"
    if hasattr(type(tensor), "__tensor_flatten__"):
        return f"{type_name(type(tensor))}, which is made of other tensors"
    return None


def _is_known(dtype: str) -> bool:
    try:
        dtypes.safetensors_name(dtype)
    except KeyError:
        return False
    return True


def _memory_order(tensor: torch.Tensor) -> Literal["C", "F"]:
    return "F" if not tensor.is_contiguous() and _transposed(tensor).is_contiguous() else "C"


def _transposed(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.permute(*reversed(range(tensor.ndim)))


def _identity(tensor: torch.Tensor) -> tuple[Any, ...]:
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


def _memory(tensor: torch.Tensor, leaf: Leaf) -> Bytes | None:
    """The tensor's own bytes, if they lie in host memory as the leaf's do."""
    rows = _rows(tensor, leaf)
    return _bytes(rows) if _is_plain(rows) else None


@torch.no_grad()
def _fill(tensor: torch.Tensor, leaf: Leaf, fit: Fit) -> None:
    memory = _memory(tensor, leaf)
    if memory is not None:
        fit.read(leaf, memory)
        if not tensor.is_inference():  # autograd must see the change as it sees any in-place change
            torch.autograd.graph.increment_version(tensor)
        return
    rows = _rows(tensor, leaf)
    for start, data in fit.parts(leaf):
        put_run(rows, start // rows.element_size(), torch.from_numpy(data).view(rows.dtype))


def _make_tensor(leaf: Leaf, read: Read) -> torch.Tensor:
    shape = tuple(reversed(leaf.shape)) if leaf.order == "F" else leaf.shape
    data = torch.empty(leaf.size_bytes, dtype=torch.uint8)
    if leaf.size_bytes:
        read(leaf, data.numpy())
    return _rows(data.view(getattr(torch, leaf.dtype)).reshape(shape), leaf)


_DTYPES = {str(value): value for value in vars(torch).values() if isinstance(value, torch.dtype)}

ADAPTERS = (
    _Tensor(),
    _Generator(),
    Value(torch.Size, list, torch.Size),
    Value(torch.dtype, str, _DTYPES.__getitem__),
    Value(torch.device, str, torch.device),
)
MAKERS = {"torch": _make_tensor}
