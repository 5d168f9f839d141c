"""What a script changes between two starts is named, and what only tries something out is none of the run's."""

from __future__ import annotations

import logging
import os

import numpy as np
import pytest
import torch

import holdfast
from holdfast import Checkpointing, Run, Verdict
from holdfast.errors import PlanMismatchError, UnsupportedStateError
from tests.support.integrations.crashing import Crash, beats

pytestmark = pytest.mark.filterwarnings("ignore")  # the frameworks' own
KEPT = "exact; the checkpoint's hyperparameters are used: {}"
POLICY = {"save_on": ["batch_end", "epoch_end"], "max_to_keep": 3}


class Lightning:
    """A short fit, in mid-epoch when it crashes."""

    def __init__(self, directory):
        self.directory = directory

    def fit(self, *callbacks, lr=1e-2, crash_at=None, cfg=None, before=None, **options):
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
        model, loader = Model(cfg), torch.utils.data.DataLoader(data, batch_size=2, shuffle=True)
        if before is not None:
            before(trainer, model, loader)
        trainer.fit(model, loader)
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
        {"check_val_every_n_epoch": 2},
        {"limit_val_batches": 0.5},
        {"val_check_interval": 0.5},
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
    assert (
        "lr is 0.01 (the script says 0.05). To use the script's, set them in `on_train_batch_start`"
        in caplog.text
    )
    assert held.last_resume.verdict == KEPT.format("lr is 0.01 (the script says 0.05)")
    assert held.last_resume.rank is Verdict.EXACT
    saved = [
        each.record.details.get("resume", {}).get("verdict") for each in holdfast.scan(lightning.directory)
    ]
    assert saved[-1] == held.last_resume.verdict


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


def test_a_tuner_that_seeks_before_the_fit_leaves_nothing_behind(lightning):
    from lightning.pytorch.tuner import Tuner

    def seek(trainer, module, data):
        Tuner(trainer).lr_find(module, data, num_training=6)
        assert all(each.record.moment.step == 11 for each in holdfast.scan(lightning.directory)[-1:])

    with pytest.raises(RuntimeError, match="a cable"):
        lightning.fit(crash_at=11, before=seek)
    assert holdfast.scan(lightning.directory)[-1].record.moment.step == 11
    held, trainer = lightning.fit(before=seek)
    assert held.last_resume.record.moment.step == 11
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


def transformers_at(rate, directory, crash_at):
    held, trainer = train_transformers(directory, learning_rate=rate, crash_at=crash_at)
    return held.last_resume, trainer.optimizer.param_groups[0]["lr"]


def keras_at(rate, directory, crash_at, **options):
    os.environ.setdefault("KERAS_BACKEND", "torch")
    keras = pytest.importorskip("keras")
    from holdfast.integrations.keras import HoldfastCallback

    keras.utils.clear_session()
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.layers.Input((2,)), keras.layers.Dense(1)])
    model.compile(keras.optimizers.Adam(rate, **options), "mse")
    beat = beats(crash_at)
    counting = keras.callbacks.LambdaCallback(on_train_batch_begin=lambda batch, logs=None: beat())
    held = HoldfastCallback(directory, checkpointing=Checkpointing(**POLICY))
    x = np.linspace(0, 1, 32, dtype="float32").reshape(16, 2)
    model.fit(x, x[:, :1], batch_size=2, epochs=2, verbose=0, callbacks=[held, counting])
    return held.last_resume, round(float(model.optimizer.learning_rate), 6)


def accelerate_at(rate, directory, crash_at):
    accelerate = pytest.importorskip("accelerate")
    from holdfast.integrations.accelerate import hold

    accelerator = accelerate.Accelerator(cpu=True)
    model = torch.nn.Linear(2, 1)
    model, optimizer = accelerator.prepare(model, torch.optim.Adam(model.parameters(), rate))
    return stepped(
        hold(accelerator, directory, checkpointing=Checkpointing(**POLICY)), optimizer, beats(crash_at)
    )


def run_at(rate, directory, crash_at):

    model = torch.nn.Linear(2, 1)
    optimizer = torch.optim.Adam(model.parameters(), rate)
    run = Run(directory, {"model": model, "optimizer": optimizer}, checkpointing=Checkpointing(**POLICY))
    return stepped(run, optimizer, beats(crash_at))


def stepped(run, optimizer, beat):
    with run as run:
        for _ in run.steps(16):
            beat()
            for group in optimizer.param_groups:
                for each in group["params"]:
                    each.grad = torch.ones_like(each)
            optimizer.step()
    return run.last_resume, optimizer.param_groups[0]["lr"]


def experiment_at(rate, directory, crash_at):
    from tests.support.small_runs import At, experiment, on_disk, train

    graph = holdfast.ModelGraph(
        [holdfast.ModelNode("net", torch.nn.Linear(4, 3), "pixels")],
        optimizer=lambda each: torch.optim.Adam(each, rate),
    )
    loss = holdfast.Loss("loss", torch.nn.functional.cross_entropy, output="net", target="digit")
    phase = train(losses=[loss], checkpointing=on_disk("batch_end"))
    stop = [At("batch_end", 1, do=RuntimeError("a cable was pulled"))] if crash_at else []
    found = experiment(directory, phase, graph=graph, callbacks=[*stop, holdfast.Callback()][:1])
    found.run(resume=True, progress=False)
    return found.last_resume, graph.optimizers[0].param_groups[0]["lr"]


def modularml_at(rate, directory, crash_at):
    pytest.importorskip("modularml")
    from holdfast.integrations import modularml
    from tests.support.integrations import modularml_experiment as small

    modularml.enable(directory)
    try:
        made = small.experiment(beats(crash_at), lr=rate)
        small.run_phase(made, small.train_phase("train", Checkpointing(**POLICY), n_epochs=2))
        used = made.model_graph._optimizer.instance.param_groups[0]["lr"]
        return modularml.last_resume(made), used
    finally:
        modularml.disable()


@pytest.mark.parametrize(
    "train",
    [
        run_at,
        experiment_at,
        accelerate_at,
        modularml_at,
        transformers_at,
        pytest.param(keras_at, marks=pytest.mark.leaves_threads),
    ],
)
def test_a_changed_learning_rate_stands_in_every_verdict(train, tmp_path):
    with pytest.raises((RuntimeError, Crash)):
        train(1e-2, tmp_path, 9)
    resumed, used = train(5e-2, tmp_path, None)
    assert used == 1e-2
    assert len(resumed.kept) == 1
    assert resumed.kept[0].endswith("is 0.01 (the script says 0.05)")
    assert resumed.verdict == KEPT.format(resumed.kept[0])
    assert resumed.rank is Verdict.EXACT


@pytest.mark.medium
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


@pytest.mark.medium
@pytest.mark.parametrize(
    ("first", "more", "verdict"),
    [
        ({"num_train_epochs": 1}, {"num_train_epochs": 2}, "exact"),
        ({"max_steps": 4}, {"max_steps": 9}, "not exact: max_steps=4 had ended an epoch in its middle"),
    ],
)
def test_an_extended_training_of_transformers_is_exact_from_the_end_of_an_epoch(
    first, more, verdict, tmp_path
):
    train_transformers(tmp_path, **first)
    held, trainer = train_transformers(tmp_path, **more)
    assert held.last_resume.verdict.startswith(verdict)
    _, other = train_transformers(tmp_path / "at once", **more)
    is_same = all(map(torch.equal, trainer.model.parameters(), other.model.parameters()))
    assert is_same or verdict != "exact"


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


@pytest.mark.leaves_threads
def test_a_changed_option_of_keras_that_is_no_variable_is_in_force_and_named(tmp_path):
    with pytest.raises(Crash):
        keras_at(1e-2, tmp_path, 9)
    resumed, _ = keras_at(1e-2, tmp_path, None, beta_1=0.5)
    assert resumed.verdict == "not exact: beta_1 was 0.9 and is now 0.5"
