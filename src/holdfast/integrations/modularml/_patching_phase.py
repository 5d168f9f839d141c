"""What is called around the methods of ModularML's `TrainPhase`, its policies and early stopping."""

# pyright: reportMissingImports=false

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from modularml.callbacks.early_stopping import EarlyStopping
from modularml.core.experiment.checkpointing import Checkpointing as Theirs
from modularml.core.experiment.phases.train_phase import TrainPhase

from ...policy import Checkpointing
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
    """A policy of ours if the config says more than theirs can."""
    return Checkpointing.from_config(config) if config.keys() - THEIR_NAMES else original(cls, config)


def _never(original: Any, self: Any, phase: Any) -> bool:
    """Early stopping keeps the best state itself: a policy may have given it up, or have saved at another moment."""
    return False


SEAMS: tuple[tuple[type, str, Callable[..., Any]], ...] = (
    (TrainPhase, "iter_execution", if_held(_iterate, active)),
    (TrainPhase, "_build_sampler_executions", if_held(_build_samplers, active)),
    (TrainPhase, "_invoke_checkpointing", _invoke),
    (Theirs, "__init__", _construct),
    (Theirs, "from_config", _from_config),
    (EarlyStopping, "_has_phase_checkpointing", _never),
)
