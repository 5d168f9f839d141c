"""One of two processes that train with DDP, in one directory after the other: `lightning_ddp.py DIRECTORY[:BATCH:SIGNAL] …`.

In that batch of this process, counted from 1, each of the two gets the signal.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import lightning.pytorch as pl
import torch

from holdfast import Checkpointing, rng
from holdfast.integrations.lightning import HoldfastCallback
from tests.support.integrations.cases.lightning_case import Small, loaders, trainer


class Mixed(Small):
    """Each process draws numbers of its own."""

    def training_step(self, batch, index):
        loss = super().training_step(batch, index)
        return loss * (1 + 0.1 * torch.rand(()))


def train(directory: Path, fatal: int | None = None, name: str = "") -> None:
    count = 0

    def beat() -> None:
        nonlocal count
        count += 1
        if count == fatal:
            os.kill(os.getpid(), signal.Signals[name])

    pl.seed_everything(1, verbose=False)
    model = Mixed(beat)
    saving = {"save_on": ["batch_end", "epoch_end"], "every_n": 3, "max_to_keep": 3}
    policy = Checkpointing(mode="disk", **saving, save_on_preemption=True, save_on_exception=True)
    callback = HoldfastCallback(directory, checkpointing=policy)

    class Apart(pl.Callback):
        def on_fit_start(self, trainer, module) -> None:
            torch.manual_seed(100 + trainer.global_rank)

    made = trainer(callback, Apart(), strategy="ddp", devices=2, max_epochs=6)
    made.fit(model, *loaders())
    weights = [round(float(value.detach().double().sum()), 12) for value in model.parameters()]
    digest = callback.state_digest() if made.is_global_zero else ""
    (directory / f"rank{made.global_rank}.txt").write_text(f"{weights} {rng.draws()} {digest}")


if __name__ == "__main__":
    for each in sys.argv[1:]:
        where, _, when = each.partition(":")
        batch, _, name = when.partition(":")
        train(Path(where), int(batch) if batch else None, name)
