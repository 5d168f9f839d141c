"""Your own loop around torch: dropout, shuffling, a schedule, and an update for every second batch only."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
import torch._dynamo  # which the first optimizer imports, for seconds

from holdfast import Checkpointing, Run
from holdfast.rng import seed_everything
from tests.support.integrations.acceptance import Ended

NEEDS = ("torch",)


def train(directory: Path, policy: Checkpointing, beat: Callable[[], None]) -> Ended:
    seed_everything(0)
    model = torch.nn.Sequential(torch.nn.Linear(6, 8), torch.nn.Dropout(0.3), torch.nn.Linear(8, 1))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 1, 0.5)
    x = torch.randn(40, 6)
    data = torch.utils.data.TensorDataset(x, x.sum(1, keepdim=True))
    loader = torch.utils.data.DataLoader(data, batch_size=4, shuffle=True)
    parts = {"model": model, "optimizer": optimizer, "scheduler": scheduler}
    with Run(directory, parts, checkpointing=policy) as run:
        for _ in run.epochs(4):
            for inputs, wanted in run.batches(loader):
                beat()
                loss = (model(inputs) - wanted).square().mean()
                loss.backward()
                if run.batch % 2:
                    optimizer.step()
                    optimizer.zero_grad()
                run.log(loss=loss.detach())
            scheduler.step()
        return Ended(run.state_digest(), run.last_resume)
