"""A training script with a loop of its own; run as `python own_loop.py DIRECTORY [BATCH]`, it kills itself in that batch."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import torch

from holdfast import Checkpointing, Run
from holdfast.rng import seed_everything

N_EPOCHS, N_BATCHES = 3, 8


class Crash(Exception):
    """Ends a run from within, as a defect of the script would."""


def policy(**options) -> Checkpointing:
    return Checkpointing(
        **{"mode": "disk", "save_on": ["batch_end", "epoch_end"], "max_to_keep": 3, **options}
    )


def train(
    directory: Path,
    checkpointing: Checkpointing | None = None,
    *,
    at_batch: Callable[[int], None] = lambda number: None,
    n_epochs: int = N_EPOCHS,
    **options,
) -> tuple[str, Run]:
    """Dropout, shuffling, a schedule, and an update for every third batch only; returns the digest of its end."""
    seed_everything(0)
    model = torch.nn.Sequential(torch.nn.Linear(6, 8), torch.nn.Dropout(0.3), torch.nn.Linear(8, 1))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 1, 0.5)
    x = torch.randn(4 * N_BATCHES, 6)
    loader = torch.utils.data.DataLoader(
        torch.utils.data.TensorDataset(x, x.sum(1, keepdim=True)), batch_size=4, shuffle=True
    )
    parts = {"model": model, "optimizer": optimizer, "scheduler": scheduler}
    number = 0
    with Run(directory, parts, checkpointing=checkpointing or policy(), **options) as run:
        for epoch in run.epochs(n_epochs):
            for inputs, wanted in run.batches(loader):
                number = epoch * N_BATCHES + run.batch
                loss = (model(inputs) - wanted).square().mean()
                loss.backward()
                at_batch(number)
                if (number + 1) % 3 == 0:
                    optimizer.step()
                    optimizer.zero_grad()
                run.log(loss=loss.detach())
            scheduler.step()
        return run.state_digest(), run


if __name__ == "__main__":
    fatal = int(sys.argv[2]) if len(sys.argv) > 2 else -1

    def kill(number: int) -> None:
        if number == fatal:
            os.kill(os.getpid(), signal.SIGKILL)

    print(train(Path(sys.argv[1]), at_batch=kill)[0])
