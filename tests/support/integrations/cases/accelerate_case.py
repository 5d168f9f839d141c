"""accelerate: your own loop over what `prepare` gave, with dropout, shuffling, accumulation and a registered object."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
import torch._dynamo  # which the first optimizer imports, for seconds
from accelerate import Accelerator

from holdfast import Checkpointing
from holdfast.integrations.accelerate import hold
from holdfast.rng import seed_everything
from tests.support.integrations.acceptance import Ended

NEEDS = ("accelerate",)


class Seen:
    """Counts samples: what `register_for_checkpointing` takes."""

    def __init__(self) -> None:
        self.samples = 0

    def state_dict(self):
        return {"samples": self.samples}

    def load_state_dict(self, state):
        self.samples = state["samples"]


def collate(samples):
    x, y = zip(*samples, strict=True)
    return torch.stack(x) + 0.01 * torch.randn(len(x), 6), torch.stack(y)


def prepared():
    """The accelerator, and what it prepared: model, optimizer, schedule, loader; and the registered object."""
    seed_everything(0)
    accelerator = Accelerator(cpu=True, gradient_accumulation_steps=2)
    model = torch.nn.Sequential(torch.nn.Linear(6, 8), torch.nn.Dropout(0.3), torch.nn.Linear(8, 1))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 5, 0.5)
    x = torch.randn(36, 6)
    data = torch.utils.data.TensorDataset(x, x.sum(1, keepdim=True))
    loader = torch.utils.data.DataLoader(data, batch_size=4, shuffle=True, collate_fn=collate)
    seen = Seen()
    accelerator.register_for_checkpointing(seen)
    return accelerator, *accelerator.prepare(model, optimizer, scheduler, loader), seen


def step(accelerator, model, optimizer, scheduler, batch) -> torch.Tensor:
    with accelerator.accumulate(model):
        loss = (model(batch[0]) - batch[1]).square().mean()
        accelerator.backward(loss)
        optimizer.step()
        scheduler.step()
        optimizer.zero_grad()
    return loss.detach()


def train(directory: Path, policy: Checkpointing, beat: Callable[[], None]) -> Ended:
    accelerator, model, optimizer, scheduler, loader, seen = prepared()
    with hold(accelerator, directory, checkpointing=policy) as run:
        for _ in run.epochs(4):
            for batch in run.batches(loader):
                beat()
                run.log(loss=step(accelerator, model, optimizer, scheduler, batch))
                seen.samples += len(batch[0])
        return Ended(run.state_digest(), run.last_resume)
