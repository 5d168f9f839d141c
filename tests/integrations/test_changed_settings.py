"""What a script changes between two starts is named, and what only tries something out is none of the run's."""

from __future__ import annotations

import logging
import os

import pytest
import torch

import holdfast
from holdfast import Checkpointing
from holdfast.errors import PlanMismatchError, UnsupportedStateError

pytestmark = pytest.mark.filterwarnings("ignore")  # the frameworks' own
POLICY = {"save_on": ["batch_end", "epoch_end"], "max_to_keep": 3}


class Lightning:
    """A short fit, in mid-epoch when it crashes."""

    def __init__(self, directory):
        self.directory = directory

    def fit(self, *callbacks, lr=1e-2, crash_at=None, cfg=None, **options):
        import lightning as L

        from holdfast.integrations.lightning import HoldfastCallback

        class Model(L.LightningModule):
            def __init__(self, cfg=None):
                super().__init__()
                self.lr, self.layer = lr, torch.nn.Linear(4, 1)
                if cfg is not None:
                    self.save_hyperparameters()

            def training_step(self, batch, index):
                if self.global_step == crash_at:
                    raise RuntimeError("a cable was pulled")
                return self.layer(batch[0]).square().mean()

            def configure_optimizers(self):
                return torch.optim.AdamW(self.parameters(), lr=self.lr)

        L.seed_everything(0, verbose=False)
        data = torch.utils.data.TensorDataset(torch.randn(16, 4))
        held = HoldfastCallback(self.directory, checkpointing=Checkpointing(**POLICY))
        quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
        trainer = L.Trainer(max_epochs=2, accelerator="cpu", callbacks=[*callbacks, held], **quiet, **options)
        trainer.fit(Model(cfg), torch.utils.data.DataLoader(data, batch_size=2, shuffle=True))
        return held, trainer


@pytest.fixture
def lightning(tmp_path, monkeypatch):
    pytest.importorskip("lightning")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    monkeypatch.chdir(tmp_path)
    return Lightning(tmp_path / "run")


@pytest.mark.parametrize(
    "change",
    [
        {"accumulate_grad_batches": 2},
        {"gradient_clip_val": 1e-3},
        {"precision": "64-true"},
        {"limit_train_batches": 7},
    ],
)
def test_a_changed_setting_of_lightning_is_named(change, lightning):
    with pytest.raises(RuntimeError, match="a cable"):
        lightning.fit(crash_at=11)
    held, _ = lightning.fit(**change)
    assert any(next(iter(change)) in each for each in held.last_resume.differences)
    assert held.last_resume.verdict.startswith("not exact")


def test_a_changed_learning_rate_of_lightning_is_named_and_the_checkpoints_used(lightning, caplog):
    with pytest.raises(RuntimeError, match="a cable"):
        lightning.fit(crash_at=11)
    held, trainer = lightning.fit(lr=5e-2)
    assert trainer.optimizers[0].param_groups[0]["lr"] == 1e-2
    assert "lr is 0.01 (the script says 0.05)" in caplog.text
    assert held.last_resume.verdict == "exact"


def test_the_trials_of_a_finder_are_not_saved_and_the_run_resumes(lightning):
    from lightning.pytorch.callbacks import LearningRateFinder

    with pytest.raises(RuntimeError, match="a cable"):
        lightning.fit(LearningRateFinder(num_training_steps=6), crash_at=11)
    saved = [each.record.moment.step for each in holdfast.scan(lightning.directory)]
    assert max(saved) == 11
    held, trainer = lightning.fit(LearningRateFinder(num_training_steps=6))
    assert held.last_resume.record.moment.step == 11
    assert held.last_resume.verdict == "exact"
    assert trainer.global_step == 16


def test_a_hyperparameter_that_only_a_live_one_could_take_back_is_refused_at_the_first_save(lightning):
    with pytest.raises(UnsupportedStateError, match="hyper_parameters/cfg"):
        lightning.fit(cfg=torch.nn.ReLU())


def train_transformers(directory, callbacks=(), crash_at=None, num_texts=24, **options):
    transformers = pytest.importorskip("transformers")
    from holdfast.integrations.transformers import hold

    class Crash(transformers.TrainerCallback):
        def on_step_end(self, args, state, control, **more):
            if state.global_step == crash_at:
                raise RuntimeError("a cable was pulled")

    transformers.set_seed(0)
    sizes = {"vocab_size": 20, "n_positions": 8, "n_embd": 8, "n_layer": 1, "n_head": 2}
    model = transformers.GPT2LMHeadModel(transformers.GPT2Config(**sizes, bos_token_id=0, eos_token_id=0))
    texts = torch.randint(0, 20, (num_texts, 8)).tolist()
    given = {
        "num_train_epochs": 3,
        "per_device_train_batch_size": 2,
        "gradient_accumulation_steps": 2,
        "learning_rate": 1e-2,
        "logging_strategy": "no",
        "report_to": [],
        "use_cpu": True,
        "disable_tqdm": True,
        "dataloader_pin_memory": False,
        "lr_scheduler_type": "constant",
    }
    trainer = transformers.Trainer(
        model,
        transformers.TrainingArguments(os.fspath(directory), **{**given, **options}),
        train_dataset=[{"input_ids": each, "labels": each} for each in texts],
        callbacks=[*callbacks, Crash()],
    )
    held = hold(trainer, checkpointing=Checkpointing(**POLICY))
    trainer.train()
    return held, trainer


def counting(name):
    transformers = pytest.importorskip("transformers")

    class Count(transformers.TrainerCallback, transformers.trainer_callback.ExportableState):
        def __init__(self, name):
            self.name, self.seen = name, 0

        def on_step_end(self, args, state, control, **more):
            self.seen += 1

        def state(self):
            return {"args": {"name": self.name}, "attributes": {"seen": self.seen}}

    return Count(name)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"gradient_accumulation_steps": 1}, "gradient_accumulation_steps was 2 and is now 1"),
        ({"per_device_train_batch_size": 4}, "an epoch had 6 updates and has 3 now"),
        ({"num_texts": 32}, "an epoch had 6 updates and has 8 now"),
    ],
)
def test_another_count_of_updates_is_refused_by_name(change, said, tmp_path):
    with pytest.raises(RuntimeError, match="a cable"):
        train_transformers(tmp_path, crash_at=8)
    with pytest.raises(PlanMismatchError, match=said):
        train_transformers(tmp_path, **change)


def test_changed_arguments_of_transformers_are_named(tmp_path, caplog):
    with pytest.raises(RuntimeError, match="a cable"):
        train_transformers(tmp_path, crash_at=8)
    held, _ = train_transformers(tmp_path, max_grad_norm=1e-3, learning_rate=5e-2)
    assert held.last_resume.verdict == "not exact: max_grad_norm was 1.0 and is now 0.001"
    assert "learning_rate is 0.01 (the script says 0.05)" in caplog.text


@pytest.mark.parametrize(
    ("first", "more", "steps"),
    [({"max_steps": 4}, {"max_steps": 9}, 9), ({"num_train_epochs": 1}, {"num_train_epochs": 2}, 12)],
)
def test_a_finished_training_of_transformers_can_be_extended(first, more, steps, tmp_path):
    train_transformers(tmp_path, **first)
    held, trainer = train_transformers(tmp_path, **more)
    assert trainer.state.global_step == steps
    assert held.last_resume.record.moment.step < steps
    uninterrupted, other = train_transformers(tmp_path / "at once", **more)
    assert held.state_digest() == uninterrupted.state_digest()
    assert other.state.global_step == steps


@pytest.mark.parametrize(
    ("before", "now", "verdict"),
    [
        (["one", "two"], ["two", "one"], "exact"),
        (["one"], ["two", "one"], "not exact: the callback Count was not there when it was saved"),
        (["one", "two"], ["two"], "not exact: the state of a callback Count was saved"),
    ],
)
def test_callbacks_of_transformers_get_their_own_states(before, now, verdict, tmp_path):
    with pytest.raises(RuntimeError, match="a cable"):
        train_transformers(tmp_path, [counting(name) for name in before], crash_at=8)
    callbacks = [counting(name) for name in now]
    held, _ = train_transformers(tmp_path, callbacks)
    assert held.last_resume.verdict.startswith(verdict)
    assert {each.name: each.seen for each in callbacks if each.name in before} == dict.fromkeys(
        [name for name in now if name in before], 18
    )
