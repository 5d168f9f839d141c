"""Sparse tensors, of every layout: the plain tensors that they are made of, and their shape."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, ClassVar

import torch

from ....records import Leaf, Node, Object
from ..._fit import Fit, Make
from ..._walk import Walk
from ._memory import dtype_name

_COMPRESSED = {
    torch.sparse_csr: ("crow_indices", "col_indices", "values"),
    torch.sparse_csc: ("ccol_indices", "row_indices", "values"),
    torch.sparse_bsr: ("crow_indices", "col_indices", "values"),
    torch.sparse_bsc: ("ccol_indices", "row_indices", "values"),
}
_LAYOUTS = {str(layout).removeprefix("torch."): layout for layout in (torch.sparse_coo, *_COMPRESSED)}


class Sparse:
    """Two of one layout, shape and dtype take each other's values, however many there are."""

    name = "torch.sparse"
    layouts: ClassVar = frozenset(_LAYOUTS.values())

    def claims(self, kind: type) -> bool:
        return False  # nothing but the tensor itself says that it is sparse

    def capture(self, value: torch.Tensor, walk: Walk, path: str) -> Node:
        parts = {name: walk.node(part, walk.child(path, name)) for name, part in _parts_of(value).items()}
        return Object(self.name, "torch.Tensor", parts, _facts(value))

    def plan(self, live: torch.Tensor, node: Node, fit: Fit, path: str) -> Make:
        saved = fit.object_of(self.name, live, node, path, holds=dict)
        if saved is None:
            return fit.keep(live)
        was, now = saved.about.get("layout"), _facts(live)["layout"]
        if was != now:
            return fit.misfit(live, path, f"a {was} tensor was saved, the live one is a {now}")
        parts, here = {name: fit.resolve(part) for name, part in saved.state.items()}, _parts_of(live)
        if parts.keys() != here.keys() or not all(isinstance(each, Leaf) for each in parts.values()):
            return fit.misfit(live, path, "not all parts of the sparse tensor that was saved are there")
        was = _said(saved.about.get("shape"), [parts[name].dtype for name in here], parts["values"].shape)
        now = _said(list(live.shape), [dtype_name(each) for each in here.values()], here["values"].shape)
        if was != now:
            return fit.misfit(live, path, f"a sparse tensor {was} was saved, the live one is {now}")
        if fit.is_taken(live, saved.state):
            return fit.misfit(
                live, path, "the live tensor is at another path too, but their saved values differ"
            )
        make = fit.fresh(saved)

        def act() -> torch.Tensor:
            _fill(live, make())
            return live

        return act

    def fresh(self, state: Any, taken: Object) -> torch.Tensor:
        layout, shape = _LAYOUTS[taken.about["layout"]], taken.about["shape"]
        if layout is torch.sparse_coo:
            return torch.sparse_coo_tensor(
                torch.as_tensor(state["indices"]),
                torch.as_tensor(state["values"]),
                shape,
                is_coalesced=bool(taken.about["coalesced"]),
                check_invariants=True,
            )
        compressed, plain, values = (torch.as_tensor(state[name]) for name in _COMPRESSED[layout])
        return torch.sparse_compressed_tensor(
            compressed, plain, values, shape, layout=layout, check_invariants=True
        )


def _parts_of(tensor: torch.Tensor) -> dict[str, torch.Tensor]:
    """The plain tensors that it is made of, without copies."""
    tensor = tensor.detach()
    if tensor.layout is torch.sparse_coo:
        return {"indices": tensor._indices(), "values": tensor._values()}
    return {name: getattr(tensor, name)() for name in _COMPRESSED[tensor.layout]}


def _facts(tensor: torch.Tensor) -> dict[str, Any]:
    facts = {"layout": str(tensor.layout).removeprefix("torch."), "shape": list(tensor.shape)}
    return facts | {"coalesced": tensor.is_coalesced()} if tensor.layout is torch.sparse_coo else facts


def _said(shape: Any, dtypes: Sequence[str], values: Sequence[int]) -> str:
    """What two of one layout must have in common."""
    *indices, dtype = dtypes
    blocks = f" in blocks of {list(values[1:])}" if values[1:] else ""
    return f"{dtype} {shape}{blocks} with indices {indices[0]}"


@torch.no_grad()
def _fill(live: torch.Tensor, made: torch.Tensor) -> None:
    """In the live memory if there is room for just as many values, else in memory of its own."""
    is_coo = live.layout is torch.sparse_coo
    if any(part.shape != there.shape for part, there in _pairs(live, made)):
        if is_coo:
            live.data = made.to(live.device)
            return
        live.resize_as_sparse_(made.to(live.device))
    for part, there in _pairs(live, made):
        part.copy_(there)
    if is_coo:
        live._coalesced_(made.is_coalesced())


def _pairs(live: torch.Tensor, made: torch.Tensor) -> Iterable[tuple[torch.Tensor, torch.Tensor]]:
    return zip(_parts_of(live).values(), _parts_of(made).values(), strict=True)
