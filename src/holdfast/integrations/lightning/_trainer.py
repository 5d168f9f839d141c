"""What of a Lightning trainer decides what comes next, beyond what its own checkpoints hold.

Lightning's checkpoints have weights, optimizers, schedules, callbacks and progress. Here are the metrics that
are half accumulated, and the loops' counters exactly as they were: its own restore guesses from them where it was.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields
from typing import Any

import lightning.pytorch as pl
import torch
import torchmetrics
from lightning.pytorch.loops.loop import _Loop
from lightning.pytorch.trainer.connectors.logger_connector.result import _Metadata, _ResultMetric, _Sync

from ...policy import Limits
from ...state.adapters.torch_optim import lay_out
from .._common import handover
from .._common.arguments import Abilities
from .._common.holders import by_class
from . import _changes as lightning_changes

ABILITIES = Abilities(
    limits=Limits(where="Lightning", refused=handover.LIMITS),
    refused={
        "strict": "Lightning loads the state as one; what of the weights has to fit is said by `strict_loading` of the module",
        "override": "Lightning loads its optimizers itself; set the value in `on_train_batch_start` of the module",
    },
)
PARTS = ("model", "optimizers", "schedulers", "trainer")
BESIDE = "holdfast"
"""What we add to a checkpoint of Lightning's: weights that it has others in place of, and settings that have changed."""
_THEIRS = {"model": "state_dict", "optimizers": "optimizer_states", "schedulers": "lr_schedulers"}
_PLAIN = tuple(each.name for each in fields(_Metadata) if each.name not in ("reduce_fx", "_sync"))

HAND_OVER = "let configure_optimizers return it, or a callback or the module save it in its own state"
_BUILTINS = {"min": min, "max": max, "sum": sum}


def parts_of(checkpoint: Mapping[str, Any]) -> dict[str, Any]:
    """A checkpoint of Lightning's as the parts that a bundle has."""
    parts = {ours: checkpoint[theirs] for ours, theirs in _THEIRS.items() if theirs in checkpoint}
    rest = {name: value for name, value in checkpoint.items() if name not in _THEIRS.values()}
    return parts | {"trainer": rest}


def checkpoint_of(parts: Mapping[str, Any]) -> dict[str, Any]:
    """The parts of a bundle as a checkpoint of Lightning's."""
    return {theirs: parts[ours] for ours, theirs in _THEIRS.items() if ours in parts} | parts["trainer"]


def is_cut_short(trainer: pl.Trainer) -> bool:
    """Whether the epoch that has just ended was ended by `max_steps`, and has batches left."""
    steps, most = trainer.global_step, trainer.max_steps
    return most != -1 and steps >= most and not trainer.fit_loop.epoch_loop.batch_progress.is_last_batch


def in_epoch(checkpoint: Mapping[str, Any], *, moved: int) -> dict[str, Any]:
    """A checkpoint of Lightning's in which so many more epochs have been done."""
    loops = checkpoint["loops"]
    progress = loops["fit_loop"]["epoch_progress"]
    changed = {
        kind: {**counts, **{name: counts[name] + moved for name in ("processed", "completed")}}
        for kind, counts in progress.items()
    }
    fit_loop = {**loops["fit_loop"], "epoch_progress": {**progress, **changed}}
    return {**checkpoint, "loops": {**loops, "fit_loop": fit_loop}}


def begin_again(trainer: pl.Trainer, checkpoint: dict[str, Any]) -> None:
    """Restore all that Lightning itself restores, and let the fit loop take its data anew when it is run."""
    connector, fit_loop = trainer._checkpoint_connector, trainer.fit_loop
    if fit_loop._data_fetcher is not None:
        fit_loop._data_fetcher.teardown()
    fit_loop._combined_loader = None
    connector._loaded_checkpoint = checkpoint
    connector.restore_datamodule()
    connector.restore_model()
    connector.restore_callbacks()
    connector.restore_training_state()
    connector._loaded_checkpoint = {}


def put_back(trainer: pl.Trainer, checkpoint: Mapping[str, Any]) -> None:
    """Weights, optimizers, schedules and the loops' counters, exactly as they were; the loops restart nothing."""
    strategy, beside = trainer.strategy, checkpoint.get(BESIDE, {})
    lightning_changes.ready_averaging(trainer)
    weights = checkpoint["state_dict"] | beside.get("weights", {})
    strategy.load_model_state_dict(
        {**checkpoint, "state_dict": weights}, strict=trainer.lightning_module.strict_loading
    )
    lightning_changes.set_settings(trainer, beside.get("settings", {}))
    strategy.load_optimizer_state_dict(checkpoint)
    for optimizer in trainer.optimizers:
        lay_out(getattr(optimizer, "optimizer", optimizer))
    # One that averages weights has no schedule any more, when there is nothing left to train.
    for config, state in zip(trainer.lr_scheduler_configs, checkpoint["lr_schedulers"], strict=False):
        config.scheduler.load_state_dict(state)
    trainer.fit_loop.load_state_dict(checkpoint["loops"]["fit_loop"])
    for loop in _loops(trainer.fit_loop):
        # Past the setter of `restarting`, which stays True where `max_steps` is given.
        loop._restarting = loop._loaded_from_state_dict = loop._resuming_from_checkpoint = False
        if hasattr(loop, "reset_restart_stage"):  # since 2.5.1
            loop.reset_restart_stage()


def at_work(trainer: pl.Trainer) -> dict[str, Any]:
    """What is trained and is in a checkpoint: by Lightning itself, or by callbacks and a module that save something of their own."""
    module: Any = trainer.lightning_module
    own = {
        type(each).__name__: vars(each)
        for each in getattr(trainer, "callbacks", [])
        if _overrides(each, pl.Callback, "state_dict", "on_save_checkpoint")
    }
    if _overrides(module, pl.LightningModule, "on_save_checkpoint"):
        own["module"] = {name: each for name, each in vars(module).items() if not name.startswith("_")}
    return {
        "model": module,
        **{f"optimizer {index}": each for index, each in enumerate(trainer.optimizers)},
        **{f"schedule {index}": each.scheduler for index, each in enumerate(trainer.lr_scheduler_configs)},
        "scaler": getattr(trainer.precision_plugin, "scaler", None),
        **own,
    }


def holders(trainer: pl.Trainer) -> dict[str, Any]:
    """Whose attributes Lightning does not save; not the module's with several processes, which each have their own."""
    callbacks = [
        each
        for each in getattr(trainer, "callbacks", [])
        if not _overrides(each, pl.Callback, "state_dict", "on_save_checkpoint")
    ]
    found: dict[str, Any] = {} if trainer.world_size > 1 else {"module": trainer.lightning_module}
    found |= by_class(callbacks)
    data: Any = getattr(trainer, "datamodule", None)
    if data is not None and not _overrides(data, pl.LightningDataModule, "state_dict"):
        found["datamodule"] = data
    return found


def saving_themselves(trainer: pl.Trainer) -> list[Any]:
    """The module, the data and the callbacks, which save themselves or are `holders`."""
    return [
        trainer.lightning_module,
        getattr(trainer, "datamodule", None),
        *getattr(trainer, "callbacks", []),
    ]


def _overrides(each: Any, base: type, *names: str) -> bool:
    theirs = {name: getattr(base, name) for name in names}  # which a stand-in for a callback may lack
    return any(getattr(type(each), name, own) is not own for name, own in theirs.items())


def _loops(loop: _Loop) -> Iterator[_Loop]:
    yield loop
    for below in list(vars(loop).values()):
        if isinstance(below, _Loop):
            yield from _loops(below)


# --- metrics ----------------------------------------------------------------------------------


def get_metrics(trainer: pl.Trainer) -> dict[str, Any]:
    """What was logged last, and what is being accumulated until the epoch's end."""
    connector = trainer._logger_connector
    return {
        "callback": dict(connector._callback_metrics),
        "logged": dict(connector._logged_metrics),
        "bar": dict(connector._progress_bar_metrics),
        "first": connector._first_loop_iter,
        "function": connector._current_fx,
        "results": {key: _taken(each) for key, each in trainer.fit_loop.epoch_loop._results.items()},
        "own": {name: _metric_state(each) for name, each in _own_metrics(trainer)},
    }


def set_metrics(trainer: pl.Trainer, saved: Mapping[str, Any]) -> None:
    connector, device = trainer._logger_connector, trainer.strategy.root_device
    connector._callback_metrics = _moved(saved["callback"], device)
    connector._logged_metrics = _moved(saved["logged"], device)
    connector._progress_bar_metrics = dict(saved["bar"])
    connector._first_loop_iter, connector._current_fx = saved["first"], saved["function"]
    results = trainer.fit_loop.epoch_loop._results
    results.clear()
    for key, each in saved["results"].items():
        results[key] = _made(trainer, each).to(device)
    for name, metric in _own_metrics(trainer):
        for part, value in saved["own"][name]["state"].items():
            setattr(metric, part, _moved(value, metric.device))
        metric._update_count = saved["own"][name]["updates"]
        metric._computed = None


def numbers(trainer: pl.Trainer) -> dict[str, float]:
    """The metrics that callbacks see, as they were last computed."""
    metrics = trainer._logger_connector._callback_metrics
    return {name: float(value) for name, value in metrics.items() if value.numel() == 1}


def _own_metrics(trainer: pl.Trainer) -> Iterator[tuple[str, torchmetrics.Metric]]:
    """Torchmetrics that the module holds: what they accumulate is in no `state_dict`."""
    for name, each in trainer.lightning_module.named_modules():
        if isinstance(each, torchmetrics.Metric):
            yield name, each


def _metric_state(metric: torchmetrics.Metric) -> dict[str, Any]:
    state = {name: getattr(metric, name) for name in metric._defaults}
    return {"state": state, "updates": metric._update_count}


def _taken(metric: _ResultMetric) -> dict[str, Any]:
    """One logged name: how it is reduced, and how far."""
    meta, sync = metric.meta, metric.meta.sync
    taken = {name: getattr(meta, name) for name in _PLAIN}
    is_builtin = any(meta.reduce_fx is each for each in _BUILTINS.values())
    taken |= {"reduce": meta.reduce_fx.__name__, "is_builtin": is_builtin}
    taken |= {"is_tensor": metric.is_tensor, "updates": metric._update_count}
    taken |= {"has_reset": metric.has_reset, "cache": metric._forward_cache}
    taken["sync"] = {"should": sync.should, "op": sync.op, "rank_zero_only": sync.rank_zero_only}
    if metric.is_tensor:
        taken["state"] = {name: getattr(metric, name) for name in metric._defaults}
        taken["defaults"] = dict(metric._defaults)  # of the precision that was set when it was made
    return taken


def _made(trainer: pl.Trainer, taken: Mapping[str, Any]) -> _ResultMetric:
    reduce = _BUILTINS[taken["reduce"]] if taken["is_builtin"] else getattr(torch, taken["reduce"])
    meta = _Metadata(reduce_fx=reduce, **{name: taken[name] for name in _PLAIN})
    sync = taken["sync"]
    meta.sync = _Sync(
        fn=trainer.strategy.reduce,
        _should=sync["should"],
        _op=sync["op"],
        rank_zero_only=sync["rank_zero_only"],
    )
    metric = _ResultMetric(meta, taken["is_tensor"])
    if metric.is_tensor:
        for name, value in taken["state"].items():
            setattr(metric, name, value)
        metric._defaults.update(taken.get("defaults", {}))
    elif taken["metric_attribute"] is not None:
        metric.value = trainer.lightning_module.get_submodule(taken["metric_attribute"])
    metric.has_reset, metric._forward_cache = taken["has_reset"], taken["cache"]
    metric._update_count = taken["updates"]
    return metric


def _moved(value: Any, device: torch.device) -> Any:
    match value:
        case torch.Tensor():
            return value.to(device)
        case list():
            return [_moved(each, device) for each in value]
        case dict():
            return {name: _moved(each, device) for name, each in value.items()}
        case _:
            return value
