"""DTensors: tensors that processes have together. Each has a box of it, which is all that is read or written here."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from ....records import Box, Leaf, Node
from ..._fit import Fit, Make, said
from ..._names import Names
from ..._walk import Walk
from ._memory import Filling, LiveTensor, dtype_name, identity, written

_HINT = "Save it from all processes together: holdfast.save(..., crew=holdfast.crew.torch_crew())."


class Sharded:
    name = "torch.DTensor"
    is_leaf = True

    def claims(self, kind: type) -> bool:
        distributed: Any = sys.modules.get("torch.distributed.tensor")  # importing it takes long
        return distributed is not None and issubclass(kind, distributed.DTensor)

    def capture(self, value: Any, walk: Walk, path: str) -> Node:
        local = _local(value)
        try:
            offset = _offset(value, local)
        except ValueError as err:
            walk.refuse(path, f"DTensor {err}")
        if offset is not None and not walk.with_boxes:
            walk.refuse(path, f"DTensor that {value.device_mesh.size()} processes have together", _HINT)
        walk.names.add(value, path)
        dtype, live = dtype_name(local), LiveTensor(local)
        if offset is None:
            same = identity(local)
            return walk.array(
                path, dtype=dtype, shape=tuple(local.shape), kind="torch", live=live, identity=same
            )
        return walk.box(
            path,
            dtype=dtype,
            shape=tuple(local.shape),
            of=tuple(value.shape),
            offset=offset,
            live=live,
            kind="torch",
            # Of tensors without items only the storage tells them apart.
            identity=(local.untyped_storage()._cdata, local.storage_offset(), local.stride()),
        )

    def introduce(self, value: Any, names: Names, path: str) -> None:
        names.add(value, path)

    def plan(self, live: Any, node: Node, fit: Fit, path: str) -> Make:
        fit.names.add(live, path)
        local = _local(live)
        try:
            offset = _offset(live, local)
        except ValueError as err:
            return fit.misfit(live, path, f"the live value is a DTensor {err}")
        dtype, shape = dtype_name(local), tuple(live.shape)
        was = node.of if isinstance(node, Box) else node.shape if isinstance(node, Leaf) else None
        if was != shape or node.dtype != dtype:
            what = f"{said(node)} was saved, the live value is a DTensor {dtype} {list(shape)}"
            return fit.misfit(live, path, what)
        if offset is not None and type(node) is Leaf:
            node = Box(node.path, dtype, tuple(local.shape), kind=node.kind, of=shape, offset=offset)
        elif isinstance(node, Box) and node.offset != offset:
            return fit.misfit(live, path, "another part of the array was captured than this process has now")
        filling = Filling(local, fit)

        def fill(leaf: Leaf) -> None:
            filling.fill(leaf)
            written([live])

        return fit.array(
            live,
            node,
            path,
            dtype=dtype,
            shape=tuple(local.shape),
            identity=identity(local),
            fill=fill,
            memory=filling.memory,
            written=_written,
        )


def sharded_as(parameter: torch.Tensor, node: Node) -> torch.Tensor | None:
    """A new DTensor in which this saved array can be, spread as the parameter is; None if that is none, or has another shape."""
    is_like = isinstance(node, Leaf) and node.shape == tuple(parameter.shape)
    if not is_like or not SHARDED.claims(type(parameter)):
        return None
    with torch.no_grad():
        return torch.zeros_like(parameter, dtype=getattr(torch, node.dtype), requires_grad=False)


def is_sharded(tensor: torch.Tensor) -> bool:
    """Whether it is a DTensor, of which this process may have only a part."""
    return SHARDED.claims(type(tensor))


def local_of(tensor: torch.Tensor) -> torch.Tensor:
    """The memory that this process has of it."""
    return _local(tensor) if is_sharded(tensor) else tensor


def version_of(tensor: torch.Tensor) -> int:
    """What is greater once it was written: by its own operations, or past a DTensor into the part of this process."""
    return tensor._version + (_local(tensor)._version if is_sharded(tensor) else 0)


def token_of(tensor: torch.Tensor) -> tuple[int, int, int]:
    """What is another one once the tensor was written, or is another one, or has other memory."""
    return id(tensor), local_of(tensor).data_ptr(), -1 if tensor.is_inference() else version_of(tensor)


def address_of(tensor: torch.Tensor) -> int:
    """Where the memory begins that this process has of it."""
    return local_of(tensor).untyped_storage().data_ptr()


def spread_as(like: Any, local: torch.Tensor) -> torch.Tensor:
    """A new DTensor, spread as `like` is, with a copy of `local` as the part of this process."""
    made = local.to(_local(like), copy=True)
    return type(like).from_local(
        made, like.device_mesh, like.placements, run_check=False, shape=like.shape, stride=like.stride()
    )


def _written(those: Sequence[Any]) -> None:
    """Autograd must see it on the tensors and on the memory of this process alike."""
    written([*map(_local, those), *those])


def _local(value: Any) -> torch.Tensor:
    """The memory of this process."""
    with torch.no_grad():
        return value.to_local()


def _offset(value: Any, local: torch.Tensor) -> tuple[int, ...] | None:
    """Where in the tensor this process's part begins; None if each process has all of it.

    Raises:
        ValueError: its part is no box; it ends a sentence that begins with "DTensor".
    """
    mesh, placements = value.device_mesh, value.placements
    kinds = [type(each).__name__ for each in placements]
    if unknown := [each for each in kinds if each not in ("Shard", "_StridedShard", "Replicate")]:
        raise ValueError(f"with the placement {unknown[0]}, which has no value yet: redistribute() it first")
    if type(local) is not torch.Tensor or local.layout is not torch.strided or local.is_meta:
        raise ValueError(f"whose local part is a {type(local).__name__} that is not dense, or without data")
    coordinate = mesh.get_coordinate()
    if coordinate is None:
        raise ValueError("of which this process has no part")
    if mesh.size() == 1 or all(kind == "Replicate" for kind in kinds):
        return None
    rows: list[Any] = [range(extent) for extent in value.shape]
    for dim, (kind, placement) in enumerate(zip(kinds, placements, strict=True)):
        if kind != "Replicate":
            groups = placement.split_factor if kind == "_StridedShard" else 1
            rows[placement.dim] = _chunk(rows[placement.dim], groups, mesh.size(dim), coordinate[dim])
    if any(len(each) and each[-1] - each[0] + 1 != len(each) for each in rows):
        raise ValueError("whose local rows are not one run")
    if tuple(map(len, rows)) != tuple(local.shape):
        raise ValueError(f"whose local part {list(local.shape)} is not what its placements say")
    return tuple(int(each[0]) if len(each) else 0 for each in rows)


def _chunk(rows: Any, groups: int, number: int, index: int) -> Any:
    """Of each of so many groups of rows the part with this index, as `torch.chunk` cuts."""
    if groups == 1:
        size = -(-len(rows) // number)
        return rows[index * size : (index + 1) * size]
    size = -(-len(rows) // groups)
    parts = [_chunk(rows[begin : begin + size], 1, number, index) for begin in range(0, len(rows), size)]
    return np.concatenate([np.asarray(each, np.int64) for each in parts])


SHARDED = Sharded()
