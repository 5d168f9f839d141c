"""What of a transformers `Trainer` decides what comes next, and what of its arguments we understand."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, fields
from typing import Any

import torch
import transformers.trainer
from accelerate.optimizer import AcceleratedOptimizer
from accelerate.scheduler import AcceleratedScheduler
from accelerate.utils import broadcast_object_list
from transformers import Trainer, TrainingArguments
from transformers.trainer_callback import ExportableState

from ... import rng
from ...errors import UsageError
from ...policy import Checkpointing, KeepBest, KeepLast, Limits
from .._common import handover
from .._common.arguments import Abilities
from .._common.holders import by_class
from ..accelerate._loaders import ReadyLoader
from ._values import TIMES

logger = logging.getLogger("holdfast")

PARTS = ("model", "optimizer", "scheduler", "scaler", "trainer", "config")
ABILITIES = Abilities(
    limits=Limits(
        where="a Trainer of transformers",
        hooks=frozenset({"phase_start", "batch_end", "epoch_end", "phase_end"}),
        refused=handover.LIMITS,
    ),
    refused={
        "strict": "a Trainer needs all of its own state; load the weights that fit into the model before, by "
        "Checkpoint.restore(…, strict=False), and train with resume=False",
        "override": "a Trainer loads its optimizer itself; set the value in `on_step_begin` of a callback",
    },
)
HAND_OVER = "pass it to the Trainer as optimizers=(optimizer, scheduler), or let a callback that is an ExportableState save it"


def parts_of(trainer: Any, *, with_times: bool) -> dict[str, Any]:
    """The live parts of a checkpoint, and the trainer's own state, with or without how long things took."""
    if trainer.args.world_size == 1:  # else all do it together, when the others give what they have
        trainer.store_flos()
    state = asdict(trainer.state)
    if not with_times:
        state["log_history"] = [without_times(row) for row in state["log_history"]]
    scaler, config = trainer.accelerator.scaler, getattr(trainer.model, "config", None)
    return {
        "model": trainer.accelerator.unwrap_model(trainer.model).state_dict(),
        "optimizer": trainer.optimizer.state_dict(),
        "scheduler": trainer.lr_scheduler.state_dict(),
        "scaler": None if scaler is None else scaler.state_dict(),
        "trainer": state,
        "config": None if config is None else json.loads(config.to_json_string(use_diff=False)),
    }


def at_work(trainer: Any) -> dict[str, Any]:
    """What is trained and is in a checkpoint."""
    optimizer, scheduler = trainer.optimizer, trainer.lr_scheduler
    return {
        "model": trainer.model,
        "optimizer": optimizer.optimizer if isinstance(optimizer, AcceleratedOptimizer) else optimizer,
        "scheduler": scheduler.scheduler if isinstance(scheduler, AcceleratedScheduler) else scheduler,
        "scaler": trainer.accelerator.scaler,
    }


def holders(trainer: Any) -> dict[str, Any]:
    """Whose attributes the Trainer does not save; not the model's with several processes, which each have their own."""
    callbacks = [each for each in trainer.callback_handler.callbacks if not isinstance(each, ExportableState)]
    model = {} if trainer.args.world_size > 1 else {"model": trainer.model}
    return {**model, **by_class(callbacks), "trainer": trainer}


def saving_themselves(trainer: Any) -> list[Any]:
    """What is saved with the place in the data, or saves itself, or is among `holders`."""
    return [trainer.args, trainer.train_dataset, trainer.eval_dataset, *trainer.callback_handler.callbacks]


def get_course(trainer: Any) -> dict[str, Any]:
    """What the loop and its callbacks remember beyond that."""
    return {
        "control": trainer.control.state()["args"],
        "callbacks": [
            [type(each).__name__, state["attributes"], _plain(state["args"])]
            for each in _stateful(trainer)
            for state in [each.state()]
        ],
        "loss": trainer._tr_loss.detach().clone(),
        "total_loss": trainer._total_loss_scalar,
        "logged": trainer._globalstep_last_logged,
        "began": getattr(trainer, "_initial_global_step", 0),
    }


def set_course(trainer: Any, saved: Mapping[str, Any]) -> None:
    for name, value in saved["control"].items():
        setattr(trainer.control, name, value)
    for each, (_, attributes, *_) in _paired(trainer, saved["callbacks"])[0]:
        vars(each).update(attributes)
    trainer._tr_loss = saved["loss"].to(trainer.args.device)
    trainer._total_loss_scalar, trainer._globalstep_last_logged = saved["total_loss"], saved["logged"]
    trainer._initial_global_step = saved["began"]  # which versions before 5.20 have no use for


def callback_differences(trainer: Any, saved: Sequence[Sequence[Any]]) -> list[str]:
    """Callbacks whose state finds no place, or that are new, in sentences."""
    _, gone, new = _paired(trainer, saved)
    found = [f"the state of a callback {name} was saved, and there is none like it now" for name, *_ in gone]
    return found + [f"the callback {type(each).__name__} was not there when it was saved" for each in new]


def _paired(
    trainer: Any, saved: Sequence[Sequence[Any]]
) -> tuple[list[tuple[Any, Sequence[Any]]], list[Sequence[Any]], list[Any]]:
    """Each callback with its saved state: by class and arguments, then by class if only one is left of it on both sides.

    Also the states that are left over, and the callbacks.
    """
    pairs: list[tuple[Any, Sequence[Any]]] = []
    live, left = _stateful(trainer), [*saved]
    for each in [*live]:
        like = [type(each).__name__, _plain(each.state()["args"])]
        same = next((one for one in left if len(one) > 2 and [one[0], one[2]] == like), None)
        if same is not None:
            pairs.append((each, same))
            live = [one for one in live if one is not each]
            left = [one for one in left if one is not same]
    for each in [*live]:
        name = type(each).__name__
        of_class = [one for one in left if one[0] == name]
        is_only = sum(type(one).__name__ == name for one in live) == len(of_class) == 1
        is_older = of_class and len(of_class[0]) == 2  # saved without arguments: in their order
        if is_only or is_older:
            pairs.append((each, of_class[0]))
            live = [one for one in live if one is not each]
            left = [one for one in left if one is not of_class[0]]
    return pairs, left, live


def _plain(args: Mapping[str, Any]) -> dict[str, str]:
    return {name: str(value) for name, value in args.items() if isinstance(value, bool | int | float | str)}


RESTORED = ("learning_rate", "weight_decay", "adam_beta1", "adam_beta2", "adam_epsilon", "seed", "data_seed")
ADVICE = ". To use the script's, set them in `on_step_begin` of a callback"
_IN_FORCE = (
    *(
        "lr_scheduler_type",
        "warmup_steps",
        "warmup_ratio",
        "optim",
        "max_grad_norm",
        "label_smoothing_factor",
    ),
    *("bf16", "fp16", "neftune_noise_alpha", "per_device_train_batch_size"),
)
LENGTH = ("max_steps", "num_train_epochs")
"""What of the trainer's state says how long it trains: a resumed one may be to train longer."""
COUNTED = "gradient_accumulation_steps"
"""What updates are counted by: with another value, no place in an epoch is the same."""


def settings_of(trainer: Any) -> dict[str, Any]:
    """What of the arguments decides what an update does."""
    found = {name: getattr(trainer.args, name, None) for name in (*RESTORED, *_IN_FORCE, COUNTED)}
    return {
        name: value if isinstance(value, bool | int | float | None) else str(getattr(value, "value", value))
        for name, value in found.items()
    }


@contextmanager
def seeds_of(args: Any, then: Mapping[str, Any] | None) -> Iterator[None]:
    """The seeds that the run began with, by which the Trainer orders the samples; afterwards the script's again."""
    saved = {name: then[name] for name in ("seed", "data_seed") if name in then} if then is not None else {}
    before = {name: getattr(args, name) for name in saved}
    for name, value in saved.items():
        setattr(args, name, value)
    try:
        yield
    finally:
        for name, value in before.items():
            setattr(args, name, value)


@contextmanager
def seeded(initial: int | None) -> Iterator[None]:
    """As if torch had been seeded so at first; None: as it was."""
    if initial in (None, torch.initial_seed()):
        yield
        return
    with rng.preserved():
        torch.manual_seed(initial)
        yield


@contextmanager
def one_process_reads(trainer: Any) -> Iterator[None]:
    """Let one process alone read a stream itself, and not through accelerate's dispatcher, which gives the same batches."""
    accelerator = trainer.accelerator
    config: Any = getattr(accelerator, "dataloader_config", None)
    if config is None or config.dispatch_batches is not None or trainer.args.world_size > 1:
        yield
        return
    config.dispatch_batches = False
    try:
        yield
    finally:
        config.dispatch_batches = None


def _stateful(trainer: Any) -> list[Any]:
    return [each for each in trainer.callback_handler.callbacks if isinstance(each, ExportableState)]


# --- processes --------------------------------------------------------------------------------


def broadcast(value: Any) -> Any:
    """In each process what process 0 has passed."""
    return broadcast_object_list([value])[0]


@contextmanager
def skipping_nothing() -> Iterator[None]:
    """Where the Trainer would skip the batches that were trained: a held loader that resumes is there already."""
    module: Any = transformers.trainer
    stock = module.skip_first_batches

    def skip(loader: Any, num_batches: int = 0) -> Any:
        inside = getattr(loader, "base_dataloader", None)
        is_there = type(inside) is ReadyLoader and vars(inside)["_rest"] is not None
        return loader if is_there else stock(loader, num_batches)

    module.skip_first_batches = skip
    try:
        yield
    finally:
        module.skip_first_batches = stock


def policy_of(trainer: Trainer) -> Checkpointing:
    """The policy that the arguments of a Trainer ask for; where they ask for none, the default one.

    They do where `save_strategy` is "epoch", or "steps" with other values than the defaults (500 steps, no limit; the
    same values passed explicitly cannot be told from these): what
    they say of when to save and how many to keep holds. In any case the best one is kept as well, if
    `metric_for_best_model` names a metric, and the run is saved on preemption.

    Raises:
        UsageError: they save after a share of all steps, which no policy does.
    """
    args = trainer.args
    metric, direction = args.metric_for_best_model, "max" if args.greater_is_better else "min"
    if metric is not None and not metric.startswith("eval_"):
        metric = f"eval_{metric}"  # as the Trainer reads it
    strategy = str(getattr(args.save_strategy, "value", args.save_strategy))
    plain = {each.name: each.default for each in fields(TrainingArguments)}
    is_plain = args.save_steps == plain["save_steps"] and args.save_total_limit is None
    if strategy not in ("steps", "epoch") or (strategy == "steps" and is_plain):
        said = f"save_steps={args.save_steps}, the Trainer's default," if strategy == "steps" else ""
        logger.info(
            "%s says not when to save: the default policy saves; pass checkpointing= for another",
            said or f"save_strategy={strategy!r}",
        )
        return Checkpointing.default(metric, direction)
    if strategy == "steps" and args.save_steps < 1:
        raise UsageError(
            f"save_steps={args.save_steps} is a share of all steps: give a number of steps, or pass checkpointing=."
        )
    keep = None if args.save_total_limit is None else KeepLast(args.save_total_limit)
    if keep is not None and metric is not None:
        keep = keep | KeepBest(1, metric, direction=direction)
    return Checkpointing(
        save_on="batch_end" if strategy == "steps" else "epoch_end",
        every_n=int(args.save_steps) if strategy == "steps" else 1,
        keep=keep,
        save_on_preemption=True,
    )


def check(trainer: Trainer) -> None:
    """UsageError if it is set up in a way that cannot resume exactly."""
    args = trainer.args
    if trainer.is_deepspeed_enabled or trainer.is_fsdp_enabled:
        raise UsageError(
            "FSDP and DeepSpeed spread a model over processes, and this saves unsharded ones: use DDP"
        )
    if args.world_size > 1 and not torch.distributed.is_initialized():
        raise UsageError(
            "several devices in one process cannot be held: start one process for each (torchrun)"
        )
    if args.load_best_model_at_end:
        raise UsageError(
            "load_best_model_at_end looks for the Trainer's own checkpoints: leave it off, and open the best bundle"
        )
    if args.ignore_data_skip:
        raise UsageError("ignore_data_skip gives up the place in the data, which is kept here")


def without_times(row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if not name.endswith(TIMES)}


def numbers(row: Mapping[str, Any]) -> dict[str, float]:
    """What of a row of the log is a metric."""
    return {
        name: float(value)
        for name, value in without_times(row).items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    }
