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


def lightning(directory, crash_at=None):
    import lightning.pytorch as pl

    from holdfast.integrations.lightning import HoldfastCallback
    from tests.support.integrations.cases.lightning_case import Small, loaders, trainer

    pl.seed_everything(1, verbose=False)
    callback = HoldfastCallback(directory, checkpointing=policy())
    module = Small(beats(crash_at))
    module.layers.append(Warming())
    trainer(callback, max_epochs=3).fit(module, *loaders())
    return callback, module.layers[-1].calls


def transformers(directory, crash_at=None):
    from holdfast.integrations.transformers import hold
    from tests.support.integrations.cases.transformers_case import Beats, trainer

    made = trainer(directory, Beats(beats(crash_at)), num_train_epochs=2)
    made.model.transformer.drop = warming = Warming()
    held = hold(made, checkpointing=policy())
    made.train(resume_from_checkpoint=True)
    return held, warming.calls


@pytest.mark.parametrize("fit", [lightning, transformers])
def test_counters_and_tensors_of_a_module_come_back(fit, tmp_path):
    if importlib.util.find_spec(fit.__name__) is None:
        pytest.skip(f"{fit.__name__} is not installed")
    uninterrupted, calls = fit(tmp_path / "a")
    with pytest.raises(Crash):
        fit(tmp_path / "b", 17)
    again, calls_again = fit(tmp_path / "b")
    assert again.last_resume.verdict == "exact"
    assert calls_again == calls
    assert again.state_digest() == uninterrupted.state_digest()
