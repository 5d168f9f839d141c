"""Frameworks save a model's `state_dict`; what it keeps beside that comes back with ours."""

from __future__ import annotations

import importlib.util

import pytest
import torch

from holdfast import Checkpointing, Write
from tests.support.integrations.crashing import Crash, beats

pytestmark = pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning")


def policy() -> Checkpointing:
    return Checkpointing(mode="disk", save_on=["batch_end", "epoch_end"], write=Write(durability="process"))


class Warming(torch.nn.Module):
    """Its factor grows with the number of its calls, which it counts in an attribute and in two tensors."""

    def __init__(self) -> None:
        super().__init__()
        self.calls, self.seen = 0, [0]
        self.register_buffer("n", torch.zeros(()), persistent=False)
        self.factor = torch.ones(())

    def forward(self, x):
        if torch.is_grad_enabled():
            self.calls += 1
            self.seen.append(self.calls)
            self.n += 1
            self.factor = self.factor * 1.01
        return x * (1 + 0.01 * self.calls + 0.01 * self.n) * self.factor


class Scheduled(torch.nn.Module):
    """Its dropout rises with each call, as a script's schedule would make it."""

    def __init__(self) -> None:
        super().__init__()
        self.drop = torch.nn.Dropout(0.0)

    @property
    def calls(self) -> float:
        return self.drop.p

    def forward(self, x):
        if torch.is_grad_enabled():
            self.drop.p += 0.01
        return self.drop(x)


class Swapping(torch.nn.Module):
    """It gets another layer after some calls, which no state_dict tells."""

    def __init__(self) -> None:
        super().__init__()
        self.act, self.calls = torch.nn.Identity(), 0

    def forward(self, x):
        self.calls += torch.is_grad_enabled()
        if self.calls == 3:
            self.act = torch.nn.Tanh()
        return self.act(x)


def lightning(directory, crash_at=None, kind=Warming):
    import lightning.pytorch as pl

    from holdfast.integrations.lightning import HoldfastCallback
    from tests.support.integrations.cases.lightning_case import Small, loaders, trainer

    pl.seed_everything(1, verbose=False)
    callback = HoldfastCallback(directory, checkpointing=policy())
    module = Small(beats(crash_at))
    module.layers.append(kind())
    trainer(callback, max_epochs=3).fit(module, *loaders())
    return callback, module.layers[-1].calls


def transformers(directory, crash_at=None, kind=Warming):
    from holdfast.integrations.transformers import hold
    from tests.support.integrations.cases.transformers_case import Beats, trainer

    made = trainer(directory, Beats(beats(crash_at)), num_train_epochs=2)
    made.model.transformer.drop = warming = kind()
    held = hold(made, checkpointing=policy())
    made.train(resume_from_checkpoint=True)
    return held, warming.calls


@pytest.fixture(params=[lightning, transformers])
def fit(request):
    if importlib.util.find_spec(request.param.__name__) is None:
        pytest.skip(f"{request.param.__name__} is not installed")
    return request.param


@pytest.mark.medium
@pytest.mark.parametrize("kind", [Warming, Scheduled])
def test_counters_and_tensors_of_a_module_come_back(fit, kind, tmp_path):
    uninterrupted, calls = fit(tmp_path / "a", kind=kind)
    with pytest.raises(Crash):
        fit(tmp_path / "b", 17, kind=kind)
    again, calls_again = fit(tmp_path / "b", kind=kind)
    assert again.last_resume.verdict == "exact"
    assert calls_again == calls
    assert again.state_digest() == uninterrupted.state_digest()


def test_a_layer_that_had_become_another_is_named(fit, tmp_path):
    with pytest.raises(Crash):
        fit(tmp_path, 17, kind=Swapping)
    again, _ = fit(tmp_path, kind=Swapping)
    assert "had become a Tanh, and is an Identity as the script begins" in again.last_resume.verdict
