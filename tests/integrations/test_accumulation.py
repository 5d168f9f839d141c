"""A training that is killed in the middle of an accumulation of gradients ends in the bits of an uninterrupted one."""

from __future__ import annotations

import importlib.util
import os

import pytest

import holdfast
from holdfast import Checkpointing, Write, state
from tests.support.integrations.crashing import Crash, beats

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning"),
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),
]
IN_ALL = 3  # batches of an update


def policy() -> Checkpointing:
    return Checkpointing(mode="disk", save_on="batch_end", write=Write(durability="process"))


def lightning(directory, crash_at=None):
    import lightning.pytorch as pl

    from holdfast.integrations.lightning import HoldfastCallback
    from tests.support.integrations.cases.lightning_case import Small, loaders, trainer

    pl.seed_everything(1, verbose=False)
    callback = HoldfastCallback(directory, checkpointing=policy())
    trainer(callback, max_epochs=2, accumulate_grad_batches=IN_ALL).fit(Small(beats(crash_at)), *loaders())
    return callback


def lightning_manual(directory, crash_at=None):
    import lightning.pytorch as pl

    from holdfast.integrations.lightning import HoldfastCallback
    from tests.support.integrations.cases.lightning_case import Small, loaders, trainer

    class Manual(Small):
        automatic_optimization = False

        def configure_optimizers(self):
            return super().configure_optimizers()["optimizer"]

        def training_step(self, batch, index):
            loss = super().training_step(batch, index)
            self.manual_backward(loss)
            if index % IN_ALL == IN_ALL - 1:
                optimizer = self.optimizers()
                optimizer.step()
                optimizer.zero_grad()

    pl.seed_everything(1, verbose=False)
    callback = HoldfastCallback(directory, checkpointing=policy())
    trainer(callback, max_epochs=2, accumulate_grad_batches=1).fit(Manual(beats(crash_at)), *loaders())
    return callback


def transformers(directory, crash_at=None):
    from holdfast.integrations.transformers import hold
    from tests.support.integrations.cases.transformers_case import Beats, trainer

    beat = beats(crash_at)
    made = trainer(directory, Beats(lambda: None), num_train_epochs=1, gradient_accumulation_steps=IN_ALL)
    made.model.register_forward_pre_hook(lambda *_: beat() if made.model.training else None)
    held = hold(made, checkpointing=policy())
    made.train(resume_from_checkpoint=True)
    return held


def keras(directory, crash_at=None):
    os.environ.setdefault("KERAS_BACKEND", "torch")
    import keras

    from holdfast.integrations.keras import HoldfastCallback
    from tests.support.integrations.cases.keras_fit import LambdaCallback, compiled, fit

    model, beat = compiled(), beats(crash_at)
    model.compile(keras.optimizers.Adam(1e-2, gradient_accumulation_steps=IN_ALL), "mse", metrics=["mae"])
    callback = HoldfastCallback(directory, checkpointing=policy())
    fit(model, [callback, LambdaCallback(on_train_batch_begin=lambda batch, logs=None: beat())], epochs=2)
    return callback


@pytest.mark.medium
@pytest.mark.parametrize("crash_at", [5, 9])
@pytest.mark.parametrize("fit", [lightning, lightning_manual, transformers, keras])
def test_a_half_done_accumulation_comes_back(fit, crash_at, tmp_path):
    name = fit.__name__.partition("_")[0]
    if importlib.util.find_spec(name) is None:
        pytest.skip(f"{name} is not installed")
    uninterrupted = fit(tmp_path / "a")
    with pytest.raises(Crash):
        fit(tmp_path / "b", crash_at)
    again = fit(tmp_path / "b")
    assert again.last_resume is not None
    assert again.last_resume.verdict == "exact"
    assert again.state_digest() == uninterrupted.state_digest()


def lightning_never_cleared(directory, crash_at=None):
    import lightning.pytorch as pl

    from holdfast.integrations.lightning import HoldfastCallback
    from tests.support.integrations.cases.lightning_case import Small, loaders, trainer

    class Manual(Small):
        automatic_optimization = False

        def configure_optimizers(self):
            return super().configure_optimizers()["optimizer"]

        def training_step(self, batch, index):
            self.manual_backward(super().training_step(batch, index))
            self.optimizers().step()

    pl.seed_everything(1, verbose=False)
    callback = HoldfastCallback(directory, checkpointing=policy())
    trainer(callback, max_epochs=2, accumulate_grad_batches=1).fit(Manual(beats(crash_at)), *loaders())
    return callback


def accelerate_never_cleared(directory, crash_at=None):
    from holdfast.integrations.accelerate import hold
    from tests.support.integrations.cases.accelerate_case import prepared

    accelerator, model, optimizer, _, loader, _ = prepared()
    beat = beats(crash_at)
    with hold(accelerator, directory, checkpointing=policy()) as run:
        for _ in run.epochs(2):
            for batch in run.batches(loader):
                beat()
                accelerator.backward((model(batch[0]) - batch[1]).square().mean())
                optimizer.step()
    return run


@pytest.mark.medium
@pytest.mark.parametrize("crash_at", [2, 5])
@pytest.mark.parametrize("fit", [lightning_never_cleared, accelerate_never_cleared])
def test_gradients_that_are_never_cleared_come_back(fit, crash_at, tmp_path):
    test_a_half_done_accumulation_comes_back(fit, crash_at, tmp_path)


@pytest.mark.parametrize("saves_at", [1, 3, 12])
@pytest.mark.parametrize("clears", [True, False])
def test_what_was_seen_of_gradients_comes_back_with_load_state(saves_at, clears, tmp_path):
    pytest.importorskip("accelerate")
    import torch

    from holdfast.integrations.accelerate import hold
    from tests.support.integrations.cases.accelerate_case import prepared

    def train(held, prepared, batches):
        accelerator, model, optimizer = prepared[:3]
        for number, batch in batches:
            optimizer.zero_grad() if clears else None
            accelerator.backward((model(batch[0]) - batch[1]).square().mean())
            optimizer.step()
            if number == saves_at:
                held.save_state(tmp_path / "saved")
        held.save_state(tmp_path / "end")
        tree = holdfast.load(tmp_path / "end.ckpt.mml")
        tree.pop("loaders")
        return state.digest(state.capture(tree))

    batches = [(number, (torch.rand(4, 6), torch.rand(4, 1))) for number in range(1, 15)]
    first = prepared()
    expected = train(hold(first[0]), first, batches)
    again = prepared()
    held = hold(again[0])
    held.load_state(tmp_path / "saved.ckpt.mml")
    assert train(held, again, batches[saves_at:]) == expected


def convolution(hook):
    """Weights that lie channels last, as do their gradients and what a fused optimizer keeps of them."""
    import torch

    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.out = torch.nn.Conv2d(3, 6, 3), torch.nn.Linear(6 * 16, 1)

        def forward(self, images, labels=None):
            if self.training:
                hook()
            found = self.out(torch.relu(self.conv(images)).flatten(1))
            return {"loss": (found - labels).square().mean(), "logits": found}

    made = Net().to(memory_format=torch.channels_last)
    made.conv.weight.data[:] += 0.01  # where a view or a transposed matrix lies, there lie its gradients, too
    made.out.weight = torch.nn.Parameter(torch.randn(6 * 16, 1).T)
    return made


def images():
    import torch

    drawn = torch.randn(40, 3, 6, 6, generator=torch.Generator().manual_seed(0))
    return drawn, drawn.sum((1, 2, 3)).unsqueeze(1)


def lightning_layouts(directory, crash_at=None):
    import lightning.pytorch as pl
    import torch

    from holdfast.integrations.lightning import HoldfastCallback
    from tests.support.integrations.cases.lightning_case import trainer

    class Model(pl.LightningModule):
        def __init__(self, beat):
            super().__init__()
            self.net = convolution(beat)

        def training_step(self, batch, index):
            loss = self.net(batch[0].to(memory_format=torch.channels_last), batch[1])["loss"]
            self.log("loss", loss, on_epoch=True)
            return loss

        def configure_optimizers(self):
            return torch.optim.AdamW(self.parameters(), 1e-2, fused=True)

    pl.seed_everything(1, verbose=False)
    callback = HoldfastCallback(directory, checkpointing=policy())
    data = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(*images()), batch_size=4, shuffle=True)
    model = Model(beats(crash_at))
    trainer(callback, max_epochs=2, accumulate_grad_batches=IN_ALL).fit(model, data)
    return callback, model.net, model.optimizers().optimizer


def transformers_layouts(directory, crash_at=None):
    import transformers as library

    from holdfast.integrations.transformers import hold
    from tests.support.integrations.cases.transformers_case import TrainingArguments

    library.set_seed(3)
    x, y = images()
    given = {
        "num_train_epochs": 2,
        "per_device_train_batch_size": 4,
        "gradient_accumulation_steps": IN_ALL,
        "optim": "adamw_torch_fused",
        "learning_rate": 1e-2,
        "report_to": [],
        "use_cpu": True,
        "disable_tqdm": True,
        "dataloader_pin_memory": False,
        "save_strategy": "no",
    }
    model = convolution(beats(crash_at))
    trainer = library.Trainer(
        model,
        TrainingArguments(output_dir=str(directory), **given),
        train_dataset=[{"images": image, "labels": label} for image, label in zip(x, y, strict=True)],
    )
    held = hold(trainer, checkpointing=policy())
    trainer.train(resume_from_checkpoint=True)
    return held, model, trainer.optimizer.optimizer


def strides(model, optimizer):
    kept = [
        (name, each.stride())
        for parameter in model.parameters()
        for name, each in optimizer.state[parameter].items()
    ]
    return [each.stride() for each in model.parameters()], kept


@pytest.mark.parametrize("crash_at", [5, 9, 15])
@pytest.mark.parametrize("fit", [lightning_layouts, transformers_layouts])
def test_a_half_done_accumulation_comes_back_in_its_memory_layout(fit, crash_at, tmp_path):
    name = fit.__name__.partition("_")[0]
    if importlib.util.find_spec(name) is None:
        pytest.skip(f"{name} is not installed")
    uninterrupted, *parts = fit(tmp_path / "a")
    with pytest.raises(Crash):
        fit(tmp_path / "b", crash_at)
    again, *parts_again = fit(tmp_path / "b")
    assert again.last_resume is not None
    assert again.last_resume.verdict == "exact"
    assert strides(*parts_again) == strides(*parts)
    assert again.state_digest() == uninterrupted.state_digest()
