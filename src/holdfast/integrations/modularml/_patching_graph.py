"""What is called around the methods of ModularML's `ModelGraph`, and of the models in it."""

# pyright: reportMissingImports=false

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from modularml.core.models.torch_wrapper import TorchModelWrapper
from modularml.core.topology.model_graph import ModelGraph

from . import _manual as manual
from ._graph import in_order
from ._holds import active, if_held
from ._run import Held


def _train_step(held: Held, call: Any, self: Any, ctx: Any, *args: Any, **options: Any) -> Any:
    return held.train_step(call, ctx)


def _set_state(original: Any, self: Any, state: dict[str, Any]) -> None:
    """From a copy: an optimizer would train on in the snapshot's own tensors.

    What a policy of ours has kept in memory is data: who is connected to whom is left as it is.
    """
    state = deepcopy(state)
    for node_id, each in state.get("nodes", {}).items():
        each.setdefault("super", self.nodes[node_id].get_state()["super"])
    original(self, state)


def _select_parameters(original: Any, self: Any, *args: Any, **options: Any) -> Any:
    return in_order(self, original(self, *args, **options))


def _save_graph(
    original: Any, self: Any, filepath: Path, *, overwrite: bool = False, meta: dict[str, Any] | None = None
) -> Path:
    parts = manual.graph_parts(self) | ({} if meta is None else {"meta": meta})
    return manual.save(Path(filepath), parts, active(), overwrite=overwrite, kind="train")


def _restore_graph(original: Any, self: Any, filepath: Path) -> Any:
    place = manual.bundle_at(filepath)
    if place is None:
        return original(self, filepath)
    manual.restore_graph(self, place)
    return self


def _get_weights(original: Any, self: Any) -> dict[str, Any]:
    """As arrays, but for dtypes that NumPy lacks: those are copied as tensors."""
    if not self.is_built:
        return {}
    return {name: _array(each.detach().cpu()) for name, each in self.model.state_dict().items()}


def _array(tensor: torch.Tensor) -> Any:
    try:
        return tensor.numpy()
    except TypeError:
        return tensor.clone()


SEAMS: tuple[tuple[type, str, Callable[..., Any]], ...] = (
    (ModelGraph, "train_step", if_held(_train_step, active)),
    (ModelGraph, "set_state", _set_state),
    (ModelGraph, "_select_optimizer_parameters", _select_parameters),
    (ModelGraph, "save_checkpoint", _save_graph),
    (ModelGraph, "restore_checkpoint", _restore_graph),
    (TorchModelWrapper, "get_weights", _get_weights),
)
