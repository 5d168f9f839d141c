"""A small experiment to run, stop, restore and break: 40 rows, 5 batches an epoch, dropout, Adam, a schedule."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from holdfast import (
    Callback,
    Checkpointing,
    Dataset,
    Experiment,
    Loss,
    ModelGraph,
    ModelNode,
    TrainPhase,
    Write,
    scan,
    state,
)

ROWS, BATCHES = 40, 5  # of an epoch
LOSS = Loss("loss", nn.functional.cross_entropy, output="head", target="digit")


def rows(seed: int = 0, number: int = ROWS) -> Dataset:
    draw = np.random.default_rng(seed)
    digit = draw.integers(3, size=number)
    return Dataset(pixels=(draw.normal(size=(number, 4)) + digit[:, None]).astype(np.float32), digit=digit)


def graph(*, seed: int = 0, width: int = 8, dtype: torch.dtype = torch.float32, **options: Any) -> ModelGraph:
    """Fresh models; `width` decides the shapes, `options` are those of `ModelGraph`."""
    torch.manual_seed(seed)
    body = nn.Sequential(nn.Linear(4, width), nn.ReLU(), nn.Dropout(0.2)).to(dtype)
    options = {
        "optimizer": lambda parameters: torch.optim.Adam(parameters, lr=0.05),
        "scheduler": lambda optimizer: torch.optim.lr_scheduler.StepLR(optimizer, 1, 0.9),
        **options,
    }
    return ModelGraph(
        [ModelNode("body", body, "pixels"), ModelNode("head", nn.Linear(width, 3).to(dtype), "body")],
        **options,
    )


def train(label: str = "train", *, n_epochs: int = 3, **options: Any) -> TrainPhase:
    options = {"data": rows(), "losses": [LOSS], "batch_size": ROWS // BATCHES, **options}
    return TrainPhase(label, n_epochs=n_epochs, **options)


def on_disk(*save_on: str, **options: Any) -> Checkpointing:
    """A policy that saves at these hooks (`epoch_end`), quickly."""
    return Checkpointing(
        mode="disk",
        **({} if "when" in options else {"save_on": list(save_on) or "epoch_end"}),
        **{"write": Write(durability="process"), **options},
    )


def experiment(
    directory: str | os.PathLike[str] | None, *units: Any, seed: int = 0, **options: Any
) -> Experiment:
    """An experiment as a newly started script builds it."""
    options.setdefault("graph", graph(seed=seed))
    return Experiment("small", directory=directory, **options).add(*units)


def digest_of(graph: ModelGraph) -> str:
    """Of models, optimizer, schedule and freezing: equal if they are, to the bit."""
    return state.digest(state.capture(graph))


def adam_steps(graph: ModelGraph) -> int:
    """How many updates Adam thinks it has made."""
    steps = {int(slots["step"]) for slots in graph.optimizers[0].state.values()}
    assert len(steps) <= 1
    return next(iter(steps), 0)


def files_below(directory: str | os.PathLike[str]) -> set[str]:
    """Relative paths of all files, but for the note that says who runs here."""
    found = (path for path in Path(directory).rglob("*") if not path.is_dir() and path.name != ".run.lock")
    return {str(path.relative_to(directory)) for path in found}


def bundles(directory: str | os.PathLike[str]) -> list[str]:
    """The names of the checkpoints directly in a directory, sorted."""
    return sorted(path.name.removesuffix(".ckpt.mml") for path in Path(directory).glob("*.ckpt.mml"))


def all_verify(directory: str | os.PathLike[str]) -> bool:
    """Whether every checkpoint below is whole and as it was saved."""
    import holdfast

    listed = scan(directory)
    for each in listed:
        with holdfast.open(each) as checkpoint:
            if checkpoint.verify(deep=True):
                return False
    return bool(listed)


class At(Callback):
    """Does something at one hook of a run: `At("batch_end", 2, 3, do=…)` at batch 3 of epoch 2.

    `do` is an exception to raise, or a function that gets the context. Without epoch and batch: each time.
    """

    def __init__(
        self, hook: str, epoch: int | None = None, batch: int | None = None, *, do: BaseException | Callable
    ) -> None:
        self._epoch, self._batch, self._do = epoch, batch, do
        setattr(self, f"on_{hook}", self._act)

    def _act(self, context: Any) -> None:
        wanted = (self._epoch, context.moment.epoch), (self._batch, context.moment.batch)
        if all(mine is None or mine == now for mine, now in wanted):
            if isinstance(self._do, BaseException):
                raise self._do
            self._do(context)


class Weights(Callback):
    """Keeps the digest of the graph at the end of each epoch."""

    def __init__(self) -> None:
        self.by_epoch: list[str] = []

    def on_epoch_end(self, context: Any) -> None:
        self.by_epoch.append(digest_of(context.graph))


def weights(graph: ModelGraph) -> Sequence[torch.Tensor]:
    """Copies of all parameters."""
    return [parameter.detach().clone() for parameter in graph.parameters()]
