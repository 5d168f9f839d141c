"""What callbacks of Lightning change while training continues, and keep in no state: which weights are trained, which
are saved in whose place, over how many batches gradients are accumulated.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import ModelPruning, StochasticWeightAveraging

from .._common.script_settings import ScriptSettings, is_plain, options_by_name

_OF_A_MODULE = ("training", "track_running_stats")  # the latter is a batch norm's
_ACCUMULATION = "accumulate_grad_batches"


def settings(trainer: pl.Trainer) -> dict[str, Any]:
    """What a script sets before it trains, and a callback may set anew in any epoch."""
    found: dict[str, Any] = {_ACCUMULATION: trainer.accumulate_grad_batches}
    for name, module in trainer.lightning_module.named_modules():
        for attribute in _OF_A_MODULE:
            if isinstance(value := getattr(module, attribute, None), bool):
                found[f"{name}.{attribute}"] = value
    for name, parameter in trainer.lightning_module.named_parameters():
        found[f"{name}.requires_grad"] = parameter.requires_grad
    return found


_ADVICE = ". To use the script's, set them in `on_train_batch_start` of the module"
_OF_TRAINER = (
    *(_ACCUMULATION, "gradient_clip_val", "gradient_clip_algorithm", "precision"),
    *("limit_train_batches", "overfit_batches"),
    # Validation draws from the same random states.
    *("limit_val_batches", "check_val_every_n_epoch", "val_check_interval"),
)


def script_settings(trainer: Any) -> ScriptSettings:
    """What the script says of the trainer and its optimizers; Lightning restores the options of the latter."""
    found = {name: value for name in _OF_TRAINER if is_plain(value := getattr(trainer, name, None))}
    optimizers = {
        f"optimizer {number}" if number else "": each for number, each in enumerate(trainer.optimizers)
    }
    options = options_by_name(optimizers)
    for number, each in enumerate(trainer.lr_scheduler_configs):
        of = f" of schedule {number}" if number else " of the schedule"
        found[f"class{of}"] = type(each.scheduler).__name__
        options |= {f"{name}{of}": value for name, value in _options_of(each.scheduler).items()}
    options["seed"] = os.environ.get("PL_GLOBAL_SEED")
    return ScriptSettings(found | options, options.keys(), advice=_ADVICE)


def _options_of(schedule: Any) -> dict[str, Any]:
    """What a schedule was made with; its counters change, and `base_lrs` are the optimizer's."""
    but = {"last_epoch", "base_lrs", "best", "cooldown_counter", "num_bad_epochs", "verbose"}
    return {
        name: value
        for name, value in vars(schedule).items()
        if not name.startswith("_") and name not in but and is_plain(value)
    }


def set_settings(trainer: pl.Trainer, changed: Mapping[str, Any]) -> None:
    """Set what had changed since training began; all else stays as the script says now."""
    modules: dict[str, Any] = dict(trainer.lightning_module.named_modules())
    modules |= dict(trainer.lightning_module.named_parameters())
    for name, value in changed.items():
        owner, _, attribute = name.rpartition(".")
        if name == _ACCUMULATION:
            trainer.accumulate_grad_batches = value
        elif owner in modules:
            setattr(modules[owner], attribute, value)


def weights_in_use(trainer: pl.Trainer, checkpoint: Mapping[str, Any]) -> dict[str, torch.Tensor]:
    """Those that a callback has replaced in the checkpoint, as one that averages weights does."""
    saved = checkpoint["state_dict"]
    live = trainer.strategy.lightning_module_state_dict()
    return {
        name: value
        for name, value in live.items()
        if isinstance(value, torch.Tensor) and name in saved and not _is_same(value, saved[name])
    }


def _is_same(one: torch.Tensor, other: Any) -> bool:
    return one is other or (isinstance(other, torch.Tensor) and one.data_ptr() == other.data_ptr())


def exactness(trainer: pl.Trainer) -> str:
    """What the callbacks changed that cannot be restored."""
    callbacks: list[Any] = getattr(trainer, "callbacks", [])
    if any(isinstance(each, ModelPruning) and each._make_pruning_permanent for each in callbacks):
        return "not exact: ModelPruning saves weights that are pruned for good, and not what they were before"
    if trainer.fit_loop._skip_backward:
        return "not exact: StochasticWeightAveraging is in the middle of the pass that renews its batch norms"
    return "exact"


def ready_averaging(trainer: pl.Trainer) -> None:
    """Let a `StochasticWeightAveraging` that had begun have its schedule, which it makes only at an epoch's start.

    Making it sets learning rates; afterwards all is put back.
    """
    for each in getattr(trainer, "callbacks", []):
        if not isinstance(each, StochasticWeightAveraging) or each._scheduler_state is None:
            continue
        if each._initialized or not each.swa_start <= trainer.current_epoch <= each.swa_end:
            continue
        updated, each._latest_update_epoch = each._latest_update_epoch, sys.maxsize  # average nothing now
        each.on_train_epoch_start(trainer, trainer.lightning_module)
        each._latest_update_epoch = updated
