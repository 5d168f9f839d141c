"""Experiments that are killed, copied, damaged and resumed by the tests, and a script that runs one of them.

Each plan has a feature that a resume could get wrong. `build(name, directory)` makes it new, as a newly
started script would. As a script: `plans.py NAME DIRECTORY` runs it to its end, going on from whatever is
there, and prints the digest of its state.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from sklearn.base import BaseEstimator
from torch import nn
from torch.optim import lr_scheduler
from torch.utils.data import DataLoader, TensorDataset
from torchdata.stateful_dataloader import StatefulDataLoader

from holdfast import (
    Callback,
    Checkpointing,
    Dataset,
    EarlyStopping,
    EvalPhase,
    Experiment,
    FitPhase,
    Loss,
    Metric,
    ModelGraph,
    ModelNode,
    PhaseGroup,
    Resume,
    TrainPhase,
    Write,
    rng,
    scan,
)
from holdfast.policy import EXPERIMENT_HOOKS, TRAINING_HOOKS

ROWS, FEATURES, CLASSES, BATCH = 40, 6, 3, 8  # 5 batches an epoch


@dataclass(frozen=True)
class Saving:
    """How a plan is saved; without a directory: not at all."""

    directory: str | None = None
    durability: str = "process"
    training: Mapping[str, Any] | None = None  # options of the train phases' policies, beside the usual ones
    experiment: Mapping[str, Any] | None = None

    @property
    def phase(self) -> Checkpointing | None:
        """A new policy for a train phase: by default at each of its hooks."""
        return self._policy({"save_on": sorted(TRAINING_HOOKS), **(self.training or {})})

    @property
    def complete(self) -> Checkpointing | None:
        return self._policy({"save_on": sorted(EXPERIMENT_HOOKS), **(self.experiment or {})})

    def _policy(self, options: Mapping[str, Any]) -> Checkpointing | None:
        if self.directory is None:
            return None
        on_disk = (
            {}
            if options.get("mode") == "memory"
            else {"mode": "disk", "write": Write(durability=self.durability)}
        )
        return Checkpointing(**on_disk, **options)


NOT_SAVED = Saving()
SOMETIMES: dict[str, Any] = {
    "training": {"save_on": ["epoch_end", "batch_end"], "every_n": 2, "max_to_keep": 3},
    "experiment": {"save_on": ["phase_end", "experiment_end"]},
}


# --- what plans are made of ---------------------------------------------------------------------------


def rows(seed: int = 0, number: int = ROWS) -> dict[str, np.ndarray]:
    """Points of three classes that are easy to tell apart, so that a few steps change much."""
    draw = np.random.default_rng(seed)
    label = draw.integers(CLASSES, size=number)
    x = draw.normal(size=(number, FEATURES)) + label[:, None]
    return {"x": x.astype(np.float32), "label": label}


def tensors(seed: int = 0) -> TensorDataset:
    return TensorDataset(*map(torch.from_numpy, rows(seed).values()))


def encoder(width: int = 8) -> nn.Module:
    return nn.Sequential(nn.Linear(FEATURES, width), nn.BatchNorm1d(width), nn.ReLU(), nn.Dropout(0.3))


def adam(parameters: Any) -> torch.optim.Optimizer:
    return torch.optim.AdamW(parameters, lr=0.02)


def network(optimizer: Callable[[Any], Any] = adam, *, width: int = 8, **options: Any) -> ModelGraph:
    """An encoder with batch normalisation and dropout, and a head."""
    head = nn.Linear(width, CLASSES)
    nodes = [ModelNode("encoder", encoder(width), inputs="x"), ModelNode("head", head, "encoder")]
    return ModelGraph(nodes, optimizer=optimizer, **options)


CE = Loss("ce", nn.functional.cross_entropy, output="head", target="label")
ACCURACY = Metric("accuracy", lambda true, out: (out.argmax(1) == true).mean(), output="head", target="label")


def phase(label: str, saving: Saving, **options: Any) -> TrainPhase:
    data = options.pop("data", None) or Dataset(rows())
    if isinstance(data, Dataset):
        options = {"batch_size": BATCH} | options
    given = {"data": data, "losses": [CE], "n_epochs": 2, "checkpointing": saving.phase} | options
    if "step" in options:
        given["losses"] = []
    return TrainPhase(label, **given)


def experiment(
    saving: Saving, graph: ModelGraph, *units: Any, label: str = "plan", **options: Any
) -> Experiment:
    callbacks = [Watch(), *options.pop("callbacks", ())]
    made = Experiment(
        label,
        graph,
        directory=saving.directory,
        checkpointing=saving.complete,
        callbacks=callbacks,
        **options,
    )
    return made.add(*units)


class Watch(Callback):
    """Notes the hooks that were run, and can end the run at one of them."""

    def __init__(self) -> None:
        self.moments: list[Any] = []
        self.crash_at: int | None = None  # which hook, counted from 1
        self.at_first: Callable[[], None] | None = None  # called at the first hook

    def _note(self, context: Any) -> None:
        if self.at_first is not None and not self.moments:
            self.at_first()
        self.moments.append(context.moment)
        if len(self.moments) == self.crash_at:
            raise Crashed

    on_experiment_start = on_phase_start = on_epoch_start = on_batch_start = _note
    on_experiment_end = on_phase_end = on_epoch_end = on_batch_end = _note


class Crashed(Exception):
    """What a run was ended by."""


class Dice(Callback):
    """Has a memory, which depends on all that it drew at all hooks, and changes the graph by it."""

    def __init__(self) -> None:
        self.total, self.seen = 0.0, []

    def _throw(self, context: Any) -> None:
        drawn = random.random() + np.random.rand() + torch.rand(()).item()
        self.total += drawn
        self.seen.append(context.moment.hook)
        if context.graph is not None and context.moment.batch is not None:
            with torch.no_grad():
                context.graph["head"].model.bias.add_(0.001 * self.total)

    on_experiment_start = on_phase_start = on_epoch_start = on_batch_start = _throw
    on_experiment_end = on_phase_end = on_epoch_end = on_batch_end = _throw

    def get_state(self) -> dict[str, Any]:
        return {"total": self.total, "seen": list(self.seen)}

    def set_state(self, state: Mapping[str, Any]) -> None:
        self.total, self.seen = state["total"], list(state["seen"])


class StopInTheMiddle(Callback):
    def on_batch_end(self, context: Any) -> None:
        if (context.moment.epoch, context.moment.batch) == (1, 2):
            context.stop("enough")


class Centroids(BaseEstimator):
    """An estimator as scikit-learn has them: the class whose mean is nearest."""

    def __init__(self) -> None:
        self.centres = np.zeros((CLASSES, 8), np.float32)

    def fit(self, rows: np.ndarray, labels: np.ndarray) -> None:
        self.centres = np.stack([rows[labels == label].mean(0) for label in range(CLASSES)])

    def predict(self, rows: np.ndarray) -> np.ndarray:
        return np.linalg.norm(rows[:, None] - self.centres, axis=-1).argmin(1)

    def get_state(self) -> dict[str, Any]:
        return {"centres": self.centres}

    def set_state(self, state: Mapping[str, Any]) -> None:
        self.centres = state["centres"]


def noisy_step(graph: ModelGraph, batch: Mapping[str, Any]) -> dict[str, Any]:
    """An update for about each second batch: gradients wait in between, as the step likes."""
    out = graph.forward(batch)["head"]
    loss = nn.functional.cross_entropy(out, torch.as_tensor(batch["label"]))
    (loss * random.uniform(0.5, 1.5)).backward()
    (optimizer,) = graph.optimizers
    if np.random.rand() < 0.5:
        optimizer.step()
        optimizer.zero_grad()
    return {"loss": loss.detach()}


# --- plans --------------------------------------------------------------------------------------------


def rich(saving: Saving) -> Experiment:
    """Two phases; accumulation, clipping, schedule, early stopping that restores, a frozen encoder, validation."""
    valid = Dataset(rows(1, 20))
    graph = network(scheduler=lambda optimizer: lr_scheduler.StepLR(optimizer, 1, 0.8))
    early = EarlyStopping("val_ce", 1, restore_best=True)
    return experiment(
        saving,
        graph,
        phase("pretrain", saving, accumulate=3, clip_norm=1.0, validation=valid, callbacks=[early, Dice()]),
        phase("tune", saving, freeze=["encoder"], metrics=[ACCURACY], validation=valid),
        EvalPhase("test", data=valid, losses=[CE], predictions="head"),
        callbacks=[Dice()],
    )


def plain(
    saving: Saving,
    *,
    label: str = "plan",
    second: str = "second",
    before: tuple[Any, ...] = (),
    data_seed: int = 0,
    batch_size: int = BATCH,
    epochs: tuple[int, int] = (2, 3),
    width: int = 8,
    lr: float = 0.02,
    freeze: tuple[str, ...] = (),
    optimizer: Callable[[Any], Any] | None = None,
    callbacks: tuple[Callback, ...] = (),
    **graph: Any,
) -> Experiment:
    """Two phases, whose every part can be changed between a run and its resume."""
    return experiment(
        saving,
        network(optimizer or (lambda parameters: torch.optim.Adam(parameters, lr=lr)), width=width, **graph),
        *before,
        phase("first", saving, n_epochs=epochs[0]),
        phase(
            second,
            saving,
            data=Dataset(rows(data_seed)),
            batch_size=batch_size,
            n_epochs=epochs[1],
            freeze=freeze,
        ),
        label=label,
        callbacks=callbacks,
    )


def one_cycle(saving: Saving) -> Experiment:
    graph = network(
        scheduler=lambda optimizer: lr_scheduler.OneCycleLR(optimizer, max_lr=0.1, total_steps=10)
    )
    return experiment(saving, graph, phase("train", saving, scheduler_step="batch"))


def plateau(saving: Saving) -> Experiment:
    def schedule(optimizer: Any) -> Any:
        return lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.5, patience=0, threshold=0.5)

    train = phase("train", saving, n_epochs=4, validation=Dataset(rows(1, 20)), scheduler_metric="val_ce")
    return experiment(saving, network(scheduler=schedule), train)


def stopped_early(saving: Saving) -> Experiment:
    """The first phase stops early and goes back to its best epoch, the second runs through and goes back too."""
    valid = Dataset(rows(1, 20))
    wild = network(lambda parameters: torch.optim.SGD(parameters, lr=3.0, momentum=0.9))
    stops = EarlyStopping("val_ce", 1, direction="max", min_delta=1e6)
    runs = EarlyStopping("val_ce", 9)
    return experiment(
        saving,
        wild,
        phase("stops", saving, n_epochs=9, validation=valid, callbacks=[stops]),
        phase("runs", saving, n_epochs=3, validation=valid, callbacks=[runs]),
        phase("stops_in_an_epoch", saving, callbacks=[StopInTheMiddle()]),
    )


def stopping(saving: Saving, *, n_epochs: int = 9) -> Experiment:
    early = EarlyStopping("ce", 1, min_delta=1e6)  # nothing is ever so much better
    return experiment(saving, network(), phase("train", saving, n_epochs=n_epochs, callbacks=[early]))


def accumulated(saving: Saving) -> Experiment:
    """4 batches an update, of 5: saves in the middle of an accumulation, and an odd update at an epoch's end."""
    scaler = torch.amp.GradScaler("cpu", init_scale=64.0, growth_interval=2)
    graph = network(scaler=scaler, scheduler=lambda optimizer: lr_scheduler.ExponentialLR(optimizer, 0.9))
    return experiment(saving, graph, phase("train", saving, accumulate=4, scheduler_step="batch", n_epochs=3))


def own_step(saving: Saving) -> Experiment:
    return experiment(saving, network(), phase("train", saving, step=noisy_step))


def dice(saving: Saving) -> Experiment:
    """Callbacks with memory; one of them stands in two phases."""
    shared = Dice()
    return experiment(
        saving,
        network(),
        phase("first", saving, callbacks=[Dice(), shared]),
        EvalPhase("between", data=rows(1), losses=[CE]),
        phase("last", saving, callbacks=[shared]),
        callbacks=[Dice()],
    )


def groups(saving: Saving) -> Experiment:
    """Groups in groups, with an estimator that is fitted between two phases, and a node with its own optimizer."""
    graph = ModelGraph(
        [
            ModelNode("encoder", encoder(), "x", optimizer=lambda p: torch.optim.SGD(p, 0.05, momentum=0.9)),
            ModelNode("head", nn.Linear(8, CLASSES), "encoder"),
            ModelNode("nearest", Centroids(), "encoder"),
        ],
        optimizer=adam,
    )
    right = Metric("right", lambda true, out: (out == true).mean(), output="nearest", target="label")
    return experiment(
        saving,
        graph,
        PhaseGroup(
            "outer",
            [
                phase("first", saving, n_epochs=1),
                PhaseGroup(
                    "inner", [FitPhase("fit", node="nearest", data=rows(), target="label", metrics=[right])]
                ),
                PhaseGroup("innermost", [phase("second", saving, freeze="encoder")]),
            ],
        ),
        EvalPhase("test", data=rows(1), losses=[CE], metrics=[right], predictions=["head", "nearest"]),
    )


def _loader(kind: Any = DataLoader, **options: Any) -> Any:
    return kind(tensors(), batch_size=BATCH, **{"shuffle": True, **options})


def _loaded(saving: Saving, *loaders: Any) -> Experiment:
    columns = ["x", "label"]
    valid = DataLoader(tensors(1), batch_size=16, shuffle=True)
    units = [
        phase(f"train{number}", saving, data=data, columns=columns, validation=valid)
        for number, data in enumerate(loaders)
    ]
    return experiment(saving, network(), *units)


def loader(saving: Saving) -> Experiment:
    """One that is shuffled by the global stream, one by a generator of its own."""
    return _loaded(saving, _loader(), _loader(generator=torch.Generator().manual_seed(3)))


def workers(saving: Saving) -> Experiment:
    return _loaded(saving, _loader(num_workers=2), _loader(num_workers=2, persistent_workers=True))


def stateful(saving: Saving) -> Experiment:
    return _loaded(saving, _loader(StatefulDataLoader))


QUICK: dict[str, Callable[..., Experiment]] = {
    plan.__name__: plan
    for plan in (
        *(rich, plain, one_cycle, plateau, stopped_early, stopping, accumulated, own_step, dice, groups),
        *(loader, stateful),
    )
}
PLANS = QUICK | {"workers": workers}


def build(name: str, saving: Saving = NOT_SAVED, *, seed: int = 0, **changes: Any) -> Experiment:
    """The plan as a newly started script builds it: seeded, everything new."""
    rng.seed_everything(seed)
    return PLANS[name](saving, **changes)


def watch(made: Experiment) -> Watch:
    (found,) = (callback for callback in made.callbacks if isinstance(callback, Watch))
    return found


def places(made: Experiment) -> list[tuple[Any, ...]]:
    """The hooks that were run in this process, in order."""
    return [place(moment) for moment in watch(made).moments]


def place(moment: Any) -> tuple[Any, ...]:
    """A moment without its run."""
    return moment.hook, moment.phase, moment.epoch, moment.batch, moment.step


def batches_trained(made: Experiment) -> int:
    return sum(hook == "batch_end" for hook, *_ in places(made))


def listing(directory: Any) -> list[tuple[Any, ...]]:
    """What is saved in a directory, oldest first, without what differs from run to run."""
    records = [each.record for each in scan(directory)]
    return [(each.name, each.kind, place(each.moment)) if each else None for each in records]


def run(name: str, saving: Saving = NOT_SAVED, **changes: Any) -> Experiment:
    """The plan, run from its beginning to its end."""
    made = build(name, saving, **changes)
    made.run(progress=False)
    return made


def crash(name: str, saving: Saving, hook: int, place: bool | str = False, **changes: Any) -> Experiment:
    """The plan, run (or gone on with) until an exception at the hook of this number."""
    made = build(name, saving, seed=999 if place else 0, **changes)
    watch(made).crash_at = hook
    try:
        made.run(resume=place, progress=False)
    except Crashed:
        return made
    raise AssertionError(f"it has no more than {len(watch(made).moments)} hooks")


def resume(
    name: str,
    saving: Saving,
    place: bool | str = True,
    *,
    override: str = (),
    **changes: Any,
) -> Experiment:
    """The plan built with other weights and random states than it had, and gone on with."""
    made = build(name, saving, seed=999, **changes)
    made.run(resume=Resume(place, override=override), progress=False)
    return made


if __name__ == "__main__":
    torch.set_num_threads(1)
    made = build(sys.argv[1], Saving(sys.argv[2], "full"))
    made.run(resume=True, progress=False)
    print(made.state_digest())
