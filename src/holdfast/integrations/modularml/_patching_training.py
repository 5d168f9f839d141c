"""What is called around the methods of what an experiment trains: phases, their policies, the model graph, its models."""

# pyright: reportMissingImports=false

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from modularml.callbacks.early_stopping import EarlyStopping
from modularml.core.experiment.checkpointing import Checkpointing as Theirs
from modularml.core.experiment.phases.train_phase import TrainPhase
from modularml.core.models.torch_wrapper import TorchModelWrapper
from modularml.core.topology.model_graph import ModelGraph

from ...policy import Checkpointing
from . import _manual as manual
from ._graph import describe, in_order, live_parts
from ._holds import active, held_by, if_held
from ._policies import policy_of
from ._run import Held

THEIR_NAMES = {"mode", "save_on", "every_n", "directory", "name_template", "max_to_keep", "overwrite"}
"""What a config of theirs says."""


def _iterate(held: Held, call: Any, self: Any, *, results: Any = None, **options: Any) -> Any:
    held.enter_loop(self, results)
    return call()


def _build_samplers(held: Held, call: Any, self: Any, **options: Any) -> Any:
    return held.note_batches(self, call())


def _invoke(
    original: Any, self: Any, hook: str, *, experiment: Any, epoch_idx: int = 0, batch_idx: int = 0
) -> None:
    held = held_by(experiment)
    if held is None:
        original(self, hook, experiment=experiment, epoch_idx=epoch_idx, batch_idx=batch_idx)
    else:
        held.announce(self, hook, epoch_idx, batch_idx)


def _construct(original: Any, self: Any, *args: Any, **options: Any) -> None:
    """Say at once which value makes no sense."""
    original(self, *args, **options)
    policy_of(self)


def _from_config(original: Any, cls: type, config: dict[str, Any]) -> Any:
    """A policy of ours if the config says more than theirs can, or leaves the mode open."""
    is_ours = config.keys() - THEIR_NAMES or config.get("mode", "") is None
    return Checkpointing.from_config(config) if is_ours else original(cls, config)


def _never(original: Any, self: Any, phase: Any) -> bool:
    """Early stopping keeps the best state itself: a policy may have given it up, or have saved at another moment."""
    return False


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
    parts = live_parts(self) | {"graph": describe(self)} | ({} if meta is None else {"meta": meta})
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
    (TrainPhase, "iter_execution", if_held(_iterate, active)),
    (TrainPhase, "_build_sampler_executions", if_held(_build_samplers, active)),
    (TrainPhase, "_invoke_checkpointing", _invoke),
    (Theirs, "__init__", _construct),
    (Theirs, "from_config", _from_config),
    (EarlyStopping, "_has_phase_checkpointing", _never),
    (ModelGraph, "train_step", if_held(_train_step, active)),
    (ModelGraph, "set_state", _set_state),
    (ModelGraph, "_select_optimizer_parameters", _select_parameters),
    (ModelGraph, "save_checkpoint", _save_graph),
    (ModelGraph, "restore_checkpoint", _restore_graph),
    (TorchModelWrapper, "get_weights", _get_weights),
)
