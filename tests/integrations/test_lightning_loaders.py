"""Loaders that Lightning makes anew, or that keep their workers, give the same after a resume."""

from __future__ import annotations

import importlib.util

import pytest

if importlib.util.find_spec("lightning") is None:
    pytest.skip("lightning is not installed", allow_module_level=True)

import lightning.pytorch as pl
import torch
from torch.utils.data import DataLoader, TensorDataset

from holdfast import Checkpointing, Write
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


@pytest.mark.parametrize("crash_at", [3, 8, 11, 18])
def test_a_loader_that_is_made_anew_every_second_epoch_is_made_for_the_epoch_it_was_made_for(
    crash_at, tmp_path
):
    options = {"reload_dataloaders_every_n_epochs": 2, "limit_val_batches": 0}
    check(tmp_path, lambda: {"datamodule": Curriculum()}, crash_at, **options)


@pytest.mark.parametrize("crash_at", [3, 8])
def test_persistent_workers_of_validation_draw_nothing_more_after_a_resume(crash_at, tmp_path):
    def data():
        validation = DataLoader(rows(1), batch_size=10, num_workers=1, persistent_workers=True)
        return {
            "train_dataloaders": DataLoader(rows(0), batch_size=4, shuffle=True),
            "val_dataloaders": validation,
        }

    check(tmp_path, data, crash_at, num_sanity_val_steps=0, max_epochs=3)
