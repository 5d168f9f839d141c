"""Lightning: a module with dropout, and a callback that only the trainer holds."""

import sys

import lightning as L
import outside
import torch

from holdfast.integrations.lightning import HoldfastCallback


class Scale(L.Callback):
    def __init__(self):
        self.places = iter(range(1, 1_000_000))

    def on_train_batch_start(self, trainer, module, batch, index):
        if sys.argv[1] == "held":
            module.factor = 1 / next(self.places)


class Line(L.LightningModule):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Dropout(0.2), torch.nn.Linear(8, 1))
        self.factor = 1.0

    def training_step(self, batch, index):
        return (self.layer(batch[0]) - batch[1]).square().mean() * outside.factor() * self.factor

    def configure_optimizers(self):
        return torch.optim.AdamW(self.parameters(), lr=0.01)


L.seed_everything(0, verbose=False)
x = torch.randn(32, 4)
data = torch.utils.data.TensorDataset(x, x.sum(1, keepdim=True))
loader = torch.utils.data.DataLoader(data, batch_size=8, shuffle=True)
quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
callbacks = [HoldfastCallback("runs/line"), Scale()]
L.Trainer(max_epochs=5, accelerator="cpu", callbacks=callbacks, **quiet).fit(Line(), loader)
