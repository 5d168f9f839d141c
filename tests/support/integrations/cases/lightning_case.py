"""PyTorch Lightning: dropout, shuffling, accumulation over two batches, validation, early stopping that watches a mean."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable
from pathlib import Path

import lightning.pytorch as pl
import torch
import torch._dynamo  # which the first optimizer imports, for seconds
from lightning.pytorch.callbacks import EarlyStopping

from holdfast import Checkpointing
from holdfast.integrations.lightning import HoldfastCallback
from tests.support.integrations.acceptance import Ended

NEEDS = ("lightning",)

logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
warnings.filterwarnings("ignore", module="lightning")
warnings.filterwarnings("ignore", ".*(does not have many workers|LeafSpec)")


class Small(pl.LightningModule):
    def __init__(self, beat: Callable[[], None] = lambda: None) -> None:
        super().__init__()
        self.layers = torch.nn.Sequential(torch.nn.Linear(6, 8), torch.nn.Dropout(0.3), torch.nn.Linear(8, 1))
        self.beat = beat

    def training_step(self, batch, index):
        self.beat()
        loss = (self.layers(batch[0]) - batch[1]).square().mean()
        self.log("loss", loss, on_step=True, on_epoch=True, sync_dist=True)
        return loss

    def validation_step(self, batch, index):
        self.log("val_loss", (self.layers(batch[0]) - batch[1]).square().mean())

    def configure_optimizers(self):
        optimizer = torch.optim.AdamW(self.parameters(), lr=1e-2)
        scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, patience=0)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "monitor": "loss_epoch"}}


def loaders(num_workers: int = 0) -> list[torch.utils.data.DataLoader]:
    x = torch.randn(40, 6, generator=torch.Generator().manual_seed(0))
    data = torch.utils.data.TensorDataset(x, x.sum(1, keepdim=True))
    shuffled = torch.utils.data.DataLoader(data, batch_size=4, shuffle=True, num_workers=num_workers)
    return [shuffled, torch.utils.data.DataLoader(data, batch_size=20)]


def trainer(*callbacks: pl.Callback, **options) -> pl.Trainer:
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    stops = EarlyStopping("loss_epoch", patience=3)
    settings = {"max_epochs": 4, "accumulate_grad_batches": 2, "accelerator": "cpu", **quiet, **options}
    return pl.Trainer(callbacks=[stops, *callbacks], **settings)


def train(directory: Path, policy: Checkpointing, beat: Callable[[], None]) -> Ended:
    pl.seed_everything(1, verbose=False)
    callback = HoldfastCallback(directory, checkpointing=policy)
    trainer(callback).fit(Small(beat), *loaders())
    return Ended(callback.state_digest(), callback.last_resume)
