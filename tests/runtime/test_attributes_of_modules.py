"""What a module keeps for itself, in no `state_dict`, comes back if it has changed since the training began."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch

from holdfast import Checkpointing, Run, Write


class Average(torch.nn.Module):
    """An average of weights that counts its updates in a plain attribute, as those of several libraries do."""

    def __init__(self, model: torch.nn.Linear, decay: float = 0.9) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(model.weight.detach().clone(), requires_grad=False)
        self.updates, self.decay, self.history = 0, decay, [0]

    def update(self, model: torch.nn.Linear) -> None:
        self.updates += 1
        self.history.append(self.updates)
        decay = self.decay * (1 - 2.718 ** (-self.updates / 5))
        self.weight.data.mul_(decay).add_(model.weight.detach(), alpha=1 - decay)


class Counting(torch.nn.Linear):
    """Its buffer and its tensor are in no checkpoint, and its output depends on both."""

    def __init__(self) -> None:
        super().__init__(3, 1)
        self.register_buffer("n", torch.zeros(()), persistent=False)
        self.scale, self.made_late = torch.ones(2), None

    def forward(self, x):
        self.n += 1
        self.scale = self.scale * 1.1
        self.made_late = torch.full((2,), float(self.n)) if self.n > 2 else None
        return super().forward(x) * (1 + 0.1 * self.n) * self.scale.sum()


def go(directory: Path, cut: int | None = None, decay: float = 0.9) -> Run:
    torch.manual_seed(0)
    model = Counting()
    average, optimizer = Average(model, decay), torch.optim.SGD(model.parameters(), 0.001)
    objects: dict[str, Any] = {"models": {"net": model, "average": average}, "optimizer": optimizer}
    policy = Checkpointing(save_on="batch_end", write=Write(durability="process"))
    with suppress(InterruptedError), Run(directory, objects, checkpointing=policy) as run:
        for step in run.steps(8):
            if step == cut:
                raise InterruptedError
            optimizer.zero_grad()
            model(torch.randn(4, 3)).square().mean().backward()
            optimizer.step()
            average.update(model)
    return run


@pytest.mark.parametrize("cut", [1, 5])
def test_counters_buffers_and_tensors_of_modules_come_back(cut, tmp_path):
    uninterrupted = go(tmp_path / "a")
    go(tmp_path / "b", cut)
    again = go(tmp_path / "b")
    assert again.last_resume is not None
    assert again.last_resume.record.moment.step == cut
    assert again.last_resume.verdict == "exact"
    assert again.state_digest() == uninterrupted.state_digest()
    model, average = again["models"]["net"], again["models"]["average"]
    assert (average.updates, average.history, float(model.n)) == (8, [*range(9)], 8.0)
    assert torch.equal(model.made_late, torch.full((2,), 8.0))
    assert torch.equal(average.weight, uninterrupted["models"]["average"].weight)


def test_an_attribute_that_the_training_leaves_alone_is_the_scripts(tmp_path):
    go(tmp_path, 5)
    assert go(tmp_path, decay=0.5)["models"]["average"].decay == 0.5


def test_a_list_that_others_hold_stays_the_same_object(tmp_path):
    go(tmp_path, 5)
    model = Counting()
    average = Average(model)
    held = average.history
    objects = {
        "models": {"net": model, "average": average},
        "optimizer": torch.optim.SGD(model.parameters(), 0.001),
    }
    with Run(tmp_path, objects):
        assert held is average.history
        assert held == [*range(6)]


def test_metrics_of_torchmetrics_come_back(tmp_path):
    metrics = pytest.importorskip("torchmetrics")

    def score(directory: Path, cut: int | None = None) -> tuple[Run, float, torch.Tensor]:
        torch.manual_seed(0)
        mean, seen = metrics.MeanMetric(), metrics.CatMetric()
        policy = Checkpointing(save_on="batch_end", write=Write(durability="process"))
        with (
            suppress(InterruptedError),
            Run(directory, {"mean": mean, "seen": seen}, checkpointing=policy) as run,
        ):
            for step in run.steps(6):
                if step == cut:
                    raise InterruptedError
                value = torch.randn(3)
                mean.update(value)
                seen.update(value)
        return run, float(mean.compute()), seen.compute()

    _, mean, seen = score(tmp_path / "a")
    score(tmp_path / "b", 3)
    run, again, seen_again = score(tmp_path / "b")
    assert run.last_resume is not None
    assert run.last_resume.verdict == "exact"
    assert again == mean
    assert torch.equal(seen_again, seen)


def scheduled(directory: Path, cut: int | None = None, swaps: bool = False) -> Run:
    """What a schedule changes in torch's own modules is in no `state_dict` either."""
    torch.manual_seed(0)
    model = torch.nn.Sequential(
        torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4), torch.nn.Dropout(0.1), torch.nn.ReLU()
    )
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    policy = Checkpointing(save_on="batch_end", write=Write(durability="process"))
    with (
        suppress(InterruptedError),
        Run(directory, {"model": model, "opt": optimizer}, checkpointing=policy) as run,
    ):
        for step in run.steps(8):
            if step == cut:
                raise InterruptedError
            model[2].p, model[1].momentum = model[2].p * 1.2, model[1].momentum / 1.1
            if swaps and step == 2:
                model[3] = torch.nn.Tanh()
            optimizer.zero_grad()
            model(torch.randn(6, 3)).square().mean().backward()
            optimizer.step()
    return run


def test_attributes_of_torchs_own_modules_come_back(tmp_path):
    uninterrupted = scheduled(tmp_path / "a").state_digest()
    scheduled(tmp_path / "b", 5)
    again = scheduled(tmp_path / "b")
    assert again.last_resume is not None
    assert again.last_resume.verdict == "exact"
    assert again.state_digest() == uninterrupted


def test_a_module_that_had_become_another_is_named(tmp_path):
    scheduled(tmp_path, 5, swaps=True)
    again = scheduled(tmp_path, swaps=True)
    assert again.last_resume is not None
    expected = "not exact: the module 'model/3' had become a Tanh, and is a ReLU as the script begins"
    assert again.last_resume.verdict == expected


def test_a_module_that_was_added_is_said_not_to_be_there(tmp_path):
    def train(crash_at=None):
        model = torch.nn.Sequential(torch.nn.Linear(2, 2))
        optimizer = torch.optim.SGD(model.parameters(), 0.1)
        policy = Checkpointing(save_on="batch_end")
        with Run(tmp_path, {"model": model, "optimizer": optimizer}, checkpointing=policy) as run:
            for step in run.steps(4):
                if step == 1:
                    model.append(torch.nn.Identity())
                if step == crash_at:
                    raise RuntimeError("a cable was pulled")
        return run

    with pytest.raises(RuntimeError, match="a cable"):
        train(3)
    expected = "not exact: the module 'model/1' had become an Identity, and is not there as the script begins"
    assert train().last_resume.verdict == expected
