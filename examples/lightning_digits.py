"""PyTorch Lightning on scikit-learn's digits, with a callback that makes it resumable; a few seconds.

    python examples/lightning_digits.py          # kill it whenever you like, and run it again

Needs holdfast[lightning,sklearn]. Random shifts, dropout, early stopping: everything resumes bit for bit.
"""

from __future__ import annotations

import argparse
import logging
import warnings

import lightning as L
import torch
from lightning.pytorch.callbacks import EarlyStopping
from sklearn.datasets import load_digits
from torch.utils.data import DataLoader, TensorDataset

from holdfast import Checkpointing
from holdfast.integrations.lightning import HoldfastCallback

logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
warnings.filterwarnings("ignore", ".*(does not have many workers|LeafSpec)")


class Digits(L.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.net = torch.nn.Sequential(
            torch.nn.Conv2d(1, 16, 3, padding=1),
            torch.nn.ReLU(),
            torch.nn.MaxPool2d(2),
            torch.nn.Flatten(),
            torch.nn.Dropout(0.3),
            torch.nn.Linear(16 * 16, 10),
        )

    def training_step(self, batch, index):
        pixels, digit = batch
        shift = torch.randint(-1, 2, (2,)).tolist()
        loss = torch.nn.functional.cross_entropy(self.net(pixels.roll(shift, (2, 3))), digit)
        self.log("loss", loss, on_epoch=True)
        return loss

    def validation_step(self, batch, index):
        pixels, digit = batch
        self.log("accuracy", (self.net(pixels).argmax(1) == digit).float().mean())

    def configure_optimizers(self):
        optimizer = torch.optim.AdamW(self.parameters(), lr=2e-3)
        return [optimizer], [torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 15)]


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    arguments.add_argument("--directory", default="runs/lightning_digits")
    directory = arguments.parse_args().directory

    L.seed_everything(0, verbose=False)
    pixels, digit = load_digits(return_X_y=True)
    images = torch.tensor(pixels / 16, dtype=torch.float32).view(-1, 1, 8, 8)
    data = TensorDataset(images, torch.tensor(digit))
    train, test = torch.utils.data.random_split(data, [0.8, 0.2])

    policy = Checkpointing(save_on=["batch_end", "epoch_end"], every_n=10, max_to_keep=3)
    holdfast = HoldfastCallback(directory, checkpointing=policy)
    trainer = L.Trainer(
        max_epochs=15,
        accelerator="cpu",
        callbacks=[holdfast, EarlyStopping("accuracy", mode="max", patience=5)],
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(Digits(), DataLoader(train, batch_size=64, shuffle=True), DataLoader(test, batch_size=360))
    if holdfast.last_resume is not None:
        print(f"resumed from {holdfast.last_resume.record.name}: {holdfast.last_resume.verdict}")
    print(f"accuracy {trainer.callback_metrics['accuracy']:.4f}  state digest {holdfast.state_digest()[:16]}")


if __name__ == "__main__":
    main()
