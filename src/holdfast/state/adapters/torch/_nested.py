"""Nested tensors: jagged ones by their values and where each component begins, strided ones by their components."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import torch

from .... import paths
from ....records import Leaf, Node, Object
from ..._fit import Fit, Make
from ..._walk import Walk
from ._memory import dtype_name


class Nested:
    name = "torch.nested"

    def claims(self, kind: type) -> bool:
        return False  # nothing but the tensor itself says that it is nested

    def capture(self, value: Any, walk: Walk, path: str) -> Node:
        tensor = value.detach()
        if tensor.layout is not torch.jagged:
            parts = [walk.node(each, paths.item(path, index)) for index, each in enumerate(tensor.unbind())]
            return Object(self.name, "torch.Tensor", parts, {"layout": "strided"})
        parts = {name: walk.node(part, walk.child(path, name)) for name, part in _parts_of(tensor).items()}
        return Object(self.name, "torch.Tensor", parts, {"layout": "jagged", "ragged": tensor._ragged_idx})

    def plan(self, live: Any, node: Node, fit: Fit, path: str) -> Make:
        is_jagged = live.layout is torch.jagged
        saved = fit.object_of(self.name, live, node, path, holds=dict if is_jagged else list)
        if saved is None:
            return fit.keep(live)
        return (_plan_jagged if is_jagged else _plan_strided)(live, saved, fit, path)

    def fresh(self, state: Any, taken: Object) -> torch.Tensor:
        if taken.about["layout"] == "strided":
            return torch.nested.nested_tensor([torch.as_tensor(each) for each in state])
        values, offsets = torch.as_tensor(state["values"]), torch.as_tensor(state["offsets"])
        lengths = torch.as_tensor(state["lengths"]) if "lengths" in state else None
        ragged = taken.about["ragged"]
        _check(values, offsets, lengths, ragged)
        return torch.nested.nested_tensor_from_jagged(values, offsets, lengths, ragged)


def _plan_strided(live: torch.Tensor, saved: Object, fit: Fit, path: str) -> Make:
    parts = live.detach().unbind()
    if len(parts) != len(saved.state):
        what = f"{len(saved.state)} tensors were saved, the live nested tensor has {len(parts)}"
        return fit.misfit(live, path, what)
    makes = [
        fit.into(part, node, paths.item(path, index))
        for index, (part, node) in enumerate(zip(parts, saved.state, strict=True))
    ]

    def act() -> torch.Tensor:
        for make in makes:
            make()
        return live

    return act


def _plan_jagged(live: Any, saved: Object, fit: Fit, path: str) -> Make:
    here, there = _parts_of(live.detach()), {name: fit.resolve(part) for name, part in saved.state.items()}
    values, offsets = there.get("values"), there.get("offsets")
    if not isinstance(values, Leaf) or not isinstance(offsets, Leaf):
        return fit.misfit(live, path, "not all parts of the nested tensor that was saved are there")
    was = _said(values.shape, values.dtype, offsets.shape, saved.about["ragged"])
    now = _said(here["values"].shape, dtype_name(live), here["offsets"].shape, live._ragged_idx)
    if was != now:
        return fit.misfit(live, path, f"a nested tensor of {was} was saved, the live one is of {now}")
    if _same_lengths(here, there, fit):
        make = fit.into(here["values"], values, paths.child(path, "values"))
        return lambda: (make(), live)[1]
    if isinstance(live, torch.nn.Parameter):
        return fit.misfit(
            live, path, "the components of the nested parameter had other lengths when it was saved"
        )
    make_new = fit.fresh(saved)
    return lambda: make_new().to(live.device)  # where values lie in one can be changed only by making another


def _same_lengths(here: dict[str, torch.Tensor], there: dict[str, Node], fit: Fit) -> bool:
    if here.keys() != there.keys():
        return False
    for name in here.keys() - {"values"}:
        fit.need(there[name])
        saved, live = torch.as_tensor(fit.value(there[name])), here[name].cpu()
        if saved.dtype != live.dtype or not torch.equal(saved, live):
            return False
    return True


def _parts_of(tensor: Any) -> dict[str, torch.Tensor]:
    parts = {"values": tensor.values(), "offsets": tensor.offsets(), "lengths": tensor.lengths()}
    return {name: part for name, part in parts.items() if part is not None}


def _said(values: Sequence[int], dtype: str, offsets: Sequence[int], ragged: int) -> str:
    """What two nested tensors must have in common: their components' number, dtype and shape but for the length."""
    row = ", ".join("*" if axis == ragged - 1 else str(extent) for axis, extent in enumerate(values))
    return f"{prod(offsets) - 1} components {dtype} [{row}]"


def _check(values: torch.Tensor, offsets: torch.Tensor, lengths: torch.Tensor | None, ragged: int) -> None:
    """ValueError unless every component lies within the values: torch itself looks only when they are used."""
    room = values.shape[ragged - 1]
    if offsets.ndim != 1 or not len(offsets) or offsets.is_floating_point() or not 1 <= ragged <= values.ndim:
        raise ValueError("these are no offsets")
    begins, ends = offsets[:-1], offsets[1:]
    if lengths is not None:
        if lengths.shape != begins.shape:
            raise ValueError("there are not as many lengths as components")
        ends = begins + lengths
    is_within = (begins >= 0) & (begins <= ends) & (ends <= room)
    if not is_within.all() or offsets[0] < 0 or offsets[-1] > room or (offsets.diff() < 0).any():
        raise ValueError("a component lies outside of the values")
