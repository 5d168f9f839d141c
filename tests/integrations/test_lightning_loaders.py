"""Loaders that Lightning makes anew, or that keep their workers, give the same after a resume."""

from __future__ import annotations

import importlib.util
import multiprocessing
import pickle
from contextlib import nullcontext
from functools import partial
from itertools import islice

import pytest

if importlib.util.find_spec("lightning") is None:
    pytest.skip("lightning is not installed", allow_module_level=True)

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import BatchSizeFinder, LearningRateFinder, ModelCheckpoint
from torch.utils.data import BatchSampler, DataLoader, SequentialSampler, TensorDataset
from torchdata.stateful_dataloader import StatefulDataLoader

from holdfast import Checkpointing, Write
from holdfast.integrations._common.loader_proxy import HeldLoader
from holdfast.integrations.lightning import HoldfastCallback
from tests.support.integrations.cases.lightning_case import Small, trainer
from tests.support.integrations.crashing import Crash, beats

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*(does not have many workers|set_vital|litlogger|GPU available|LeafSpec|no `val_dataloader`|exists and is not empty).*"
)


def rows(seed: int) -> TensorDataset:
    x = torch.randn(20, 6, generator=torch.Generator().manual_seed(seed))
    return TensorDataset(x, x.sum(1, keepdim=True))


class Curriculum(pl.LightningDataModule):
    """Other data in each epoch in which it is asked."""

    def train_dataloader(self):
        assert self.trainer is not None
        return DataLoader(rows(self.trainer.current_epoch), batch_size=4, shuffle=True)


def fit(directory, data, crash_at=None, **options):
    pl.seed_everything(1, verbose=False)
    policy = Checkpointing(mode="disk", save_on=["batch_end", "epoch_end"], write=Write(durability="process"))
    callback = HoldfastCallback(directory, checkpointing=policy)
    trainer(callback, accumulate_grad_batches=1, **options).fit(Small(beats(crash_at)), **data)
    return callback


def check(tmp_path, data, crash_at, **options) -> None:
    uninterrupted = fit(tmp_path / "a", data(), **options)
    with pytest.raises(Crash):
        fit(tmp_path / "b", data(), crash_at, **options)
    again = fit(tmp_path / "b", data(), **options)
    assert again.last_resume is not None
    assert again.last_resume.verdict == "exact"
    assert again.state_digest() == uninterrupted.state_digest()


@pytest.mark.medium
@pytest.mark.parametrize("crash_at", [3, 8, 11, 18])
def test_a_loader_that_is_made_anew_every_second_epoch_is_made_for_the_epoch_it_was_made_for(
    crash_at, tmp_path
):
    options = {"reload_dataloaders_every_n_epochs": 2, "limit_val_batches": 0}
    check(tmp_path, lambda: {"datamodule": Curriculum()}, crash_at, **options)


class Counting(pl.LightningDataModule):
    """Other data at each call, whatever the epoch."""

    calls = 0

    def train_dataloader(self):
        self.calls += 1
        return DataLoader(rows(self.calls), batch_size=4, shuffle=True)


@pytest.mark.medium
@pytest.mark.parametrize(("crash_at", "is_same"), [(3, True), (8, False)])
def test_loaders_that_are_made_anew_by_the_count_of_calls_are_named_where_they_are_others(
    crash_at, is_same, tmp_path
):
    options = {"reload_dataloaders_every_n_epochs": 1, "limit_val_batches": 0}
    with pytest.raises(Crash):
        fit(tmp_path, {"datamodule": Counting()}, crash_at, **options)
    again = fit(tmp_path, {"datamodule": Counting()}, **options)
    assert again.last_resume is not None
    said = "train_dataloader has made other data than in the epoch that is resumed"
    assert any(said in each for each in again.last_resume.differences) != is_same
    assert (again.last_resume.verdict == "exact") == is_same


@pytest.mark.medium
@pytest.mark.parametrize("crash_at", [3, 8])
def test_persistent_workers_of_validation_draw_nothing_more_after_a_resume(crash_at, tmp_path):
    def data():
        validation = DataLoader(rows(1), batch_size=10, num_workers=1, persistent_workers=True)
        return {
            "train_dataloaders": DataLoader(rows(0), batch_size=4, shuffle=True),
            "val_dataloaders": validation,
        }

    check(tmp_path, data, crash_at, num_sanity_val_steps=0, max_epochs=3)


class CountingBatches(BatchSampler):
    """Has a state, as its iterators have none."""

    num_given = 0
    num_to_skip = 0

    def __iter__(self):
        self.num_given, self.num_to_skip = self.num_to_skip, 0
        for batch in islice(super().__iter__(), self.num_given, None):
            self.num_given += 1
            yield batch

    def state_dict(self):
        return {"num_given": self.num_given}

    def load_state_dict(self, state) -> None:
        self.num_to_skip = state["num_given"]


def with_a_sampler_that_has_a_state(data, batch_size):
    batches = CountingBatches(SequentialSampler(data), batch_size, drop_last=False)
    return StatefulDataLoader(data, batch_sampler=batches)


@pytest.mark.slow
@pytest.mark.filterwarnings(
    "ignore:.*(callbacks used to create the checkpoint|your dataloader is not resumable)"
)
@pytest.mark.parametrize(
    "kind",
    [
        DataLoader,
        StatefulDataLoader,
        partial(StatefulDataLoader, num_workers=1),
        with_a_sampler_that_has_a_state,
    ],
)
def test_lightnings_own_files_beside_the_callback_are_what_they_would_be_without_it(kind, tmp_path):
    def run(*callbacks, ckpt_path=None) -> list[torch.Tensor]:
        pl.seed_everything(1, verbose=False)
        model, loader = Small(), kind(rows(0), batch_size=4)
        options = {"accumulate_grad_batches": 1, "max_epochs": 2, "limit_val_batches": 0}
        made = trainer(*callbacks, default_root_dir=tmp_path, **options)
        made.fit(model, loader, ckpt_path=ckpt_path)
        made.save_checkpoint(tmp_path / "end.ckpt")
        return list(model.parameters())

    def saving(name):
        return ModelCheckpoint(tmp_path / name, filename="{step}", every_n_train_steps=3, save_top_k=-1)

    policy = Checkpointing(mode="disk", save_on="batch_end", write=Write(durability="process"))
    holdfast = HoldfastCallback(tmp_path / "ours", checkpointing=policy)
    run(saving("stock"))
    at_the_end = loader_states(tmp_path / "end.ckpt")
    run(saving("beside"), holdfast)
    assert loader_states(tmp_path / "end.ckpt") == at_the_end
    stock, beside = (tmp_path / name / "step=3.ckpt" for name in ("stock", "beside"))
    assert loader_states(beside) == loader_states(stock)
    assert all(map(torch.equal, run(ckpt_path=beside), run(ckpt_path=stock)))


def test_a_fit_leaves_no_workers_and_its_loader_can_be_pickled_within(tmp_path):
    class Pickling(pl.Callback):
        def on_train_epoch_end(self, trainer, pl_module) -> None:
            held = trainer.fit_loop._combined_loader
            assert held is not None
            assert isinstance(held.flattened[0], HeldLoader)
            assert len(list(pickle.loads(pickle.dumps(held.flattened[0])))) == 5

    before = multiprocessing.active_children()  # a StatefulDataLoader that is saved after a fit starts one
    loader = DataLoader(rows(0), batch_size=4, num_workers=1, persistent_workers=True)
    made = trainer(HoldfastCallback(tmp_path), Pickling(), limit_val_batches=0, max_epochs=2)
    made.fit(Small(), loader)
    assert set(multiprocessing.active_children()) <= set(before)
    assert len(pickle.loads(pickle.dumps(made.train_dataloader))) == 5


def test_lightnings_advice_on_workers_is_given_for_a_held_loader_too(tmp_path, monkeypatch):
    monkeypatch.setattr("lightning.fabric.utilities.data._num_cpus_available", lambda: 4)
    with pytest.warns(UserWarning, match="The 'train_dataloader' does not have many workers") as said:
        fit(
            tmp_path,
            {"train_dataloaders": DataLoader(rows(0), batch_size=4)},
            max_epochs=1,
            limit_val_batches=0,
        )
    assert sum("train_dataloader" in str(each.message) for each in said) == 1


@pytest.mark.parametrize("crash_at", [None, 3])
def test_after_a_fit_the_trainer_has_the_loaders_themselves(crash_at, tmp_path):
    loaders = [DataLoader(rows(seed), batch_size=4) for seed in (0, 1)]
    policy = Checkpointing(mode="disk", save_on="batch_end", write=Write(durability="process"))

    class OfTwo(Small):
        def training_step(self, batch, batch_idx):
            return super().training_step(batch["a"], batch_idx)

    made = trainer(HoldfastCallback(tmp_path, checkpointing=policy), max_epochs=1, limit_val_batches=0)
    with pytest.raises(Crash) if crash_at else nullcontext():
        made.fit(OfTwo(beats(crash_at)), {"a": loaders[0], "b": loaders[1]})
    assert made.train_dataloader == {"a": loaders[0], "b": loaders[1]}


def loader_states(path) -> object:
    return torch.load(path, weights_only=False)["loops"]["fit_loop"]["state_dict"].get("combined_loader")


@pytest.mark.skipif(
    pl.__version__ < "2.5", reason="a search in mid-training takes batches from its epoch there"
)
def test_a_learning_rate_is_sought_in_later_epochs_too(tmp_path):
    class Seeking(LearningRateFinder):
        def on_train_epoch_start(self, trainer, pl_module) -> None:
            if trainer.current_epoch in (0, 1):
                self.lr_find(trainer, pl_module)

    def run(*callbacks) -> list[torch.Tensor]:
        pl.seed_everything(1, verbose=False)
        model = Small()
        model.lr = 1e-3
        seeking = Seeking(num_training_steps=4, early_stop_threshold=None)
        options = {"limit_val_batches": 0, "accumulate_grad_batches": 1, "default_root_dir": tmp_path}
        trainer(seeking, *callbacks, **options).fit(model, DataLoader(rows(0), batch_size=4))
        return list(model.parameters())

    policy = Checkpointing(mode="disk", save_on="batch_end", write=Write(durability="process"))
    assert all(map(torch.equal, run(), run(HoldfastCallback(tmp_path / "ours", checkpointing=policy))))


class Sized(Small):
    """Reads batches of a size that a finder may set."""

    batch_size = 4

    def train_dataloader(self):
        return DataLoader(rows(0), batch_size=self.batch_size, shuffle=True)

    def val_dataloader(self):
        return DataLoader(rows(1), batch_size=20)


@pytest.mark.medium
def test_a_batch_size_is_sought_also_where_the_fit_resumes(tmp_path):
    def run(directory, crash_at=None) -> tuple[HoldfastCallback, Small]:
        pl.seed_everything(1, verbose=False)
        policy = Checkpointing(save_on="batch_end", write=Write(durability="process"))
        held = HoldfastCallback(directory, checkpointing=policy)
        finder = BatchSizeFinder(max_trials=1, steps_per_trial=1, init_val=2)
        model = Sized(beats(crash_at))
        options = {"accumulate_grad_batches": 1, "max_epochs": 2, "default_root_dir": tmp_path}
        trainer(finder, held, **options).fit(model)
        return held, model

    uninterrupted, expected = run(tmp_path / "a")
    with pytest.raises(Crash):
        run(tmp_path / "b", 5)
    held, model = run(tmp_path / "b")
    assert held.last_resume is not None
    assert held.last_resume.verdict == "exact"
    assert all(map(torch.equal, model.parameters(), expected.parameters()))
    assert held.state_digest() == uninterrupted.state_digest()
