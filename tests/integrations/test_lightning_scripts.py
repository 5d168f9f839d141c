"""What scripts do with Lightning beside one `fit`: fit twice, raise `max_steps`, change what they train with, load the best."""

from __future__ import annotations

import enum
import importlib.util
import logging
from dataclasses import dataclass
from itertools import pairwise

import pytest

if importlib.util.find_spec("lightning") is None:
    pytest.skip("lightning is not installed", allow_module_level=True)

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from torch.utils.data import DataLoader, TensorDataset

import holdfast
from holdfast import Checkpointing
from holdfast.errors import UsageError
from holdfast.integrations.lightning import HoldfastCallback, HoldfastCheckpointIO
from tests.support.integrations.crashing import Crash

pytestmark = pytest.mark.filterwarnings("ignore")  # the frameworks' own


class Model(pl.LightningModule):
    """Ten batches to an epoch.

    Attributes:
        crash_at: the step at which it raises `Crash`.
    """

    crash_at: int | None = None
    compiled = False
    schedule: object = None

    def __init__(self, width: int = 1):
        super().__init__()
        self.save_hyperparameters()
        torch.manual_seed(0)
        self.net: torch.nn.Module = torch.nn.Linear(4, width)
        if self.compiled:
            self.net = torch.compile(self.net, backend="eager")  # pyright: ignore[reportAttributeAccessIssue]

    def training_step(self, batch, index):
        if self.global_step == self.crash_at:
            raise Crash
        return self.net(batch[0]).sub(batch[0].sum(1, keepdim=True)).square().mean()

    def configure_optimizers(self):
        optimizer = torch.optim.AdamW(self.parameters(), lr=1e-2)
        return [optimizer], [] if self.schedule is None else [self.schedule(optimizer)]


class OfIterator(Model):
    """Takes its batches itself, and uses their index."""

    def training_step(self, dataloader_iter):
        batch, index, _ = next(dataloader_iter)
        return super().training_step(batch, index) * (1 + 0.1 * index)


def rows():
    return TensorDataset(torch.randn(40, 4, generator=torch.Generator().manual_seed(0)))


def trainer(*callbacks, **options):
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    return pl.Trainer(
        **{"max_epochs": 3, "accelerator": "cpu", "devices": 1, **quiet, **options}, callbacks=[*callbacks]
    )


def fit(directory, model=None, crash_at=None, callbacks=(), batch_size=4, seed=1, loader=None, **options):
    pl.seed_everything(seed, verbose=False)
    model = Model() if model is None else model
    model.crash_at = crash_at
    held = HoldfastCallback(directory, checkpointing=Checkpointing(save_on=["batch_end", "epoch_end"]))
    made = trainer(*callbacks, held, **options)
    made.fit(model, loader or DataLoader(rows(), batch_size=batch_size, shuffle=True))
    return held, model, made


def crashed(directory, model=None, **options):
    with pytest.raises(Crash):
        fit(directory, model, crash_at=14, **options)


def same(one, other):
    return all(map(torch.equal, one.parameters(), other.parameters()))


@pytest.mark.medium
def test_max_steps_that_is_reached_in_mid_epoch_and_raised_trains_the_rest_of_the_epoch(tmp_path):
    _, expected, _ = fit(tmp_path / "a", max_epochs=-1, max_steps=24)
    fit(tmp_path / "b", max_epochs=-1, max_steps=13)
    held, model, made = fit(tmp_path / "b", max_epochs=-1, max_steps=24)
    assert made.global_step == 24
    assert same(model, expected)
    assert held.last_resume.verdict.startswith("not exact: max_steps had ended epoch 1 in its middle")


def test_an_epoch_of_a_limited_number_of_batches_is_not_cut_short(tmp_path):
    _, expected, _ = fit(tmp_path / "a", max_steps=14, limit_train_batches=7)
    fit(tmp_path / "b", max_steps=7, limit_train_batches=7)
    held, model, _ = fit(tmp_path / "b", max_steps=14, limit_train_batches=7)
    assert same(model, expected)
    assert held.last_resume.verdict == "exact"


@pytest.mark.medium
def test_the_index_that_an_iterator_of_batches_gives_continues(tmp_path):
    _, expected, _ = fit(tmp_path / "a", OfIterator())
    crashed(tmp_path / "b", OfIterator())
    held, model, _ = fit(tmp_path / "b", OfIterator())
    assert held.last_resume.verdict == "exact"
    assert same(model, expected)


def test_lightnings_own_files_say_of_the_loaders_what_they_say_without_us(tmp_path):
    saving = ModelCheckpoint(tmp_path / "own", save_last=True, every_n_train_steps=3)
    fit(tmp_path / "run", callbacks=[saving], max_epochs=1)
    own = torch.load(tmp_path / "own" / "last.ckpt", weights_only=False)
    assert "combined_loader" not in own["loops"]["fit_loop"]["state_dict"]


def test_lightnings_own_files_say_where_a_loader_is_that_keeps_a_state(tmp_path):
    nodes = pytest.importorskip("torchdata.stateful_dataloader")

    def stands_at(path, *ours) -> int:
        saving = ModelCheckpoint(path, save_last=True, every_n_train_steps=3)
        loader = nodes.StatefulDataLoader(rows(), batch_size=4)
        quiet = {"enable_progress_bar": False, "enable_model_summary": False, "logger": False}
        pl.Trainer(max_epochs=1, callbacks=[saving, *ours], **quiet).fit(Model(), loader)
        own = torch.load(path / "last.ckpt", weights_only=False)
        (state,) = own["loops"]["fit_loop"]["state_dict"]["combined_loader"]
        return state["_num_yielded"]

    ours = HoldfastCallback(tmp_path / "run", checkpointing=Checkpointing(mode="disk", save_on="batch_end"))
    # Lightning before 2.5 counts the batch that it has fetched ahead
    assert stands_at(tmp_path / "beside ours", ours) == stands_at(tmp_path / "alone") in (9, 10)


@pytest.mark.medium
@pytest.mark.parametrize("crash_at", [22, 33])
def test_a_script_that_fits_twice_and_is_killed_in_the_second_is_started_again(crash_at, tmp_path):
    def script(directory, crash_at=None):
        held, model, made = fit(directory, max_epochs=2)
        model.crash_at, made.fit_loop.max_epochs = crash_at, 4
        made.fit(model, DataLoader(rows(), batch_size=4, shuffle=True))
        return held, model, made

    _, expected, _ = script(tmp_path / "a")
    with pytest.raises(Crash):
        script(tmp_path / "b", crash_at)
    held, model, made = script(tmp_path / "b")
    assert held.last_resume.verdict == "exact"
    assert made.global_step == 40
    assert same(model, expected)


def test_another_batch_size_in_mid_epoch_is_refused_with_a_way_out(tmp_path):
    crashed(tmp_path)
    with pytest.raises(UsageError, match=r"batch size was 4 and is 5.*resume from the end of an epoch"):
        fit(tmp_path, batch_size=5)
    pl.seed_everything(1, verbose=False)
    held = HoldfastCallback(tmp_path, resume="train_epoch0")
    trainer(held).fit(Model(), DataLoader(rows(), batch_size=5, shuffle=True))
    assert "the data's batch size was 4 and is 5" in held.last_resume.differences


@pytest.mark.medium
def test_a_changed_seed_is_named_and_the_checkpoints_random_states_used(tmp_path):
    _, expected, _ = fit(tmp_path / "a")
    crashed(tmp_path / "b")
    held, model, _ = fit(tmp_path / "b", seed=2)
    assert held.last_resume.kept == ("seed is 1 (the script says 2)",)
    assert same(model, expected)


def test_a_changed_schedule_is_named(tmp_path):
    def scheduled(make):
        model = Model()
        model.schedule = make
        return model

    step = torch.optim.lr_scheduler.StepLR
    crashed(tmp_path, scheduled(lambda each: step(each, 1, 0.9)))
    held, *_ = fit(tmp_path, scheduled(lambda each: step(each, 1, 0.5)), crash_at=None, max_epochs=2)
    assert held.last_resume.kept == ("gamma of the schedule is 0.9 (the script says 0.5)",)
    other = scheduled(lambda each: torch.optim.lr_scheduler.ExponentialLR(each, 0.9))
    held, *_ = fit(tmp_path, other)
    assert "class of the schedule was StepLR and is now ExponentialLR" in held.last_resume.differences


@pytest.mark.medium
@pytest.mark.parametrize("order", [(True, False), (False, True)])
def test_a_part_that_is_compiled_in_one_run_only_resumes_and_is_named(order, tmp_path):
    def made(compiled):
        return type("Made", (Model,), {"compiled": compiled})()

    options = {"accumulate_grad_batches": 2, "max_epochs": 6}
    _, expected, _ = fit(tmp_path / "a", made(order[0]), **options)
    crashed(tmp_path / "b", made(order[0]), **options)
    held, model, _ = fit(tmp_path / "b", made(order[1]), **options)
    said = "was compiled and is not now" if order[0] else "is compiled now and was not"
    assert f"the module of 'net.weight' {said}" in held.last_resume.differences
    pairs = zip(model.parameters(), expected.parameters(), strict=True)
    assert all(torch.allclose(one, other, atol=1e-5) for one, other in pairs)


def saved(directory, **options):
    """The path that a `ModelCheckpoint` names as the best, of bundles, and the model that was trained."""
    saving = ModelCheckpoint(directory, save_top_k=1)
    for name, value in options.items():
        setattr(saving, name, value)
    made = trainer(saving, max_epochs=1, plugins=[HoldfastCheckpointIO()])
    model = Model(width=2)
    made.fit(model, DataLoader(rows(), batch_size=4))
    return saving.best_model_path, model


def test_a_second_run_in_one_folder_replaces_no_bundle_of_the_first(tmp_path):
    first, second = saved(tmp_path)[0], saved(tmp_path)[0]
    assert first != second
    assert len(holdfast.scan(tmp_path)) == 2


@pytest.mark.parametrize("options", [{}, {"FILE_EXTENSION": ".ckpt.mml"}])
def test_the_best_path_is_loaded_by_load_from_checkpoint(options, tmp_path):
    best, model = saved(tmp_path, **options)
    loaded = Model.load_from_checkpoint(best)
    assert same(loaded, model)
    assert loaded.hparams == {"width": 2}
    assert same(Model.load_from_checkpoint(best, map_location="cpu"), model)


def test_a_bundle_of_the_callback_and_a_file_are_loaded_too(tmp_path):
    _, model, made = fit(tmp_path / "run", max_epochs=1)
    made.save_checkpoint(tmp_path / "own.ckpt")
    for path in (holdfast.scan(tmp_path / "run")[-1].path, tmp_path / "own.ckpt"):
        assert same(Model.load_from_checkpoint(path, weights_only=False), model)


def test_a_bundle_of_something_else_is_refused_by_name(tmp_path):
    holdfast.save(tmp_path / "other", {"w": torch.zeros(2)})
    (path,) = [each.path for each in holdfast.scan(tmp_path)]
    with pytest.raises(UsageError, match="no checkpoint of a training with Lightning"):
        Model.load_from_checkpoint(path)


class Rates(enum.Enum):
    SLOW = 1
    FAST = 2


@dataclass
class Config:
    rates: Rates = Rates.SLOW
    sizes: tuple[int, ...] = (4, 8)


class Configured(Model):
    def __init__(self, config: object = None, width: int = 1):
        super().__init__(width)
        self.save_hyperparameters()


def save_configured(directory, config):
    saving = ModelCheckpoint(directory)
    made = trainer(saving, max_epochs=1, plugins=[HoldfastCheckpointIO()])
    made.fit(Configured(config), DataLoader(rows(), batch_size=4))
    return saving.best_model_path


@pytest.mark.parametrize(
    "config",
    [Rates.FAST, Config(Rates.FAST), {"all": [Config(), Rates.SLOW]}],
    ids=["enum", "class", "nested"],
)
def test_hyperparameters_of_the_scripts_own_classes_come_back_as_these(config, tmp_path, caplog):
    loaded = Configured.load_from_checkpoint(save_configured(tmp_path, config))
    assert loaded.hparams["config"] == config
    assert "hyperparameters come back as plain data" not in caplog.text


def test_a_hyperparameter_of_which_only_a_state_is_saved_is_named_where_a_new_module_is_made_of_it(
    tmp_path, caplog
):
    path = save_configured(tmp_path, torch.nn.Linear(2, 1))
    made = trainer(max_epochs=2, plugins=[HoldfastCheckpointIO()], default_root_dir=tmp_path)
    made.fit(Configured(torch.nn.Linear(2, 1)), DataLoader(rows(), batch_size=4), ckpt_path=path)
    assert "plain data" not in caplog.text  # the module is there, and takes none from the checkpoint
    Configured.load_from_checkpoint(path)
    assert "hyperparameters come back as plain data" in caplog.text
    assert "config (torch.nn.modules.linear.Linear)" in caplog.text


def test_several_bundles_in_a_row_are_numbered_as_files_are(tmp_path):
    names = [saved(tmp_path)[0] for _ in range(3)]
    assert all(one != other for one, other in pairwise(names))
    assert names[2].endswith("-v2.ckpt")
