"""One decorator on the function that trains: what it makes is noticed, and resumes; a few seconds.

    python examples/decorated_spirals.py          # kill it whenever you like, and run it again

Needs torch. Nothing is listed for Holdfast: the line "hands over" says what it has found.
"""

from __future__ import annotations

import copy
import hashlib

import torch
from torch.utils.data import DataLoader, TensorDataset

import holdfast


class Average:
    """A running mean of a model's weights, and how often it was taken."""

    def __init__(self, model: torch.nn.Module) -> None:
        self.model, self.updates = copy.deepcopy(model).requires_grad_(False), 0

    def update(self, model: torch.nn.Module) -> None:
        self.updates += 1
        rate = max(0.05, 1 / self.updates)
        for mean, new in zip(self.model.parameters(), model.parameters(), strict=True):
            mean.lerp_(new.detach(), rate)


def spirals(n: int) -> TensorDataset:
    arm = torch.randint(3, (n,))
    turn = torch.rand(n) * 4
    angle = turn + arm * 2.094 + 0.15 * torch.randn(n)
    return TensorDataset(torch.stack([angle.cos(), angle.sin()], 1) * turn.unsqueeze(1) / 4, arm)


SAVING = holdfast.Checkpointing(when=holdfast.Every("batch_end", 20) | holdfast.Every("epoch_end"))


@holdfast.resumable("runs/spirals", checkpointing=SAVING)
def train(epochs: int, lr: float = 0.01) -> str:
    """Train, and say how well."""
    torch.manual_seed(0)
    loader = DataLoader(spirals(1500), batch_size=50, shuffle=True)
    points, arms = spirals(500).tensors
    model = torch.nn.Sequential(
        torch.nn.Linear(2, 64), torch.nn.ReLU(), torch.nn.Dropout(0.1), torch.nn.Linear(64, 3)
    )
    average = Average(model)
    optimizer = torch.optim.AdamW(model.parameters(), lr=lr)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs)
    best = 0.0

    run = holdfast.current_run()
    for epoch in run.epochs(epochs):
        for inputs, targets in run.batches(loader):
            loss = torch.nn.functional.cross_entropy(model(inputs), targets)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            average.update(model)
        schedule.step()
        accuracy = (average.model(points).argmax(1) == arms).float().mean().item()
        best = max(best, accuracy)
        print(f"epoch {epoch:2}  accuracy {accuracy:.3f}", flush=True)

    weights = b"".join(each.numpy().tobytes() for each in average.model.state_dict().values())
    return f"best accuracy {best:.3f} after {average.updates} updates, weights {hashlib.sha256(weights).hexdigest()[:16]}"


if __name__ == "__main__":
    torch.set_num_threads(1)
    print(train(epochs=25))
