"""A U-Net finds blobs in noise, in the manner of Pytorch-UNet's training script.

    python unet.py REPORT    # the final weights and numbers go to REPORT, as JSON

Validated several times an epoch; the learning rate falls when the Dice score stops rising.
"""

import hashlib
import json
import logging
import sys
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset, random_split

import holdfast


class DoubleConv(nn.Sequential):
    def __init__(self, inside, outside):
        super().__init__(
            nn.Conv2d(inside, outside, 3, padding=1, bias=False),
            nn.BatchNorm2d(outside),
            nn.ReLU(inplace=True),
            nn.Conv2d(outside, outside, 3, padding=1, bias=False),
            nn.BatchNorm2d(outside),
            nn.ReLU(inplace=True),
        )


class UNet(nn.Module):
    def __init__(self, width=6):
        super().__init__()
        self.inc, self.down = DoubleConv(1, width), DoubleConv(width, 2 * width)
        self.up, self.conv = nn.ConvTranspose2d(2 * width, width, 2, stride=2), DoubleConv(2 * width, width)
        self.outc = nn.Conv2d(width, 1, 1)

    def forward(self, x):
        x1 = self.inc(x)
        x2 = self.down(F.max_pool2d(x1, 2))
        return self.outc(self.conv(torch.cat([x1, self.up(x2)], dim=1))).squeeze(1)


def blobs(n):
    at = torch.linspace(-1, 1, 16)
    x, y = torch.rand(2, n, 1, 1) * 1.4 - 0.7
    masks = ((at.view(1, 1, -1) - x) ** 2 + (at.view(1, -1, 1) - y) ** 2 < 0.1).float()
    return TensorDataset((masks + 0.8 * torch.randn_like(masks)).unsqueeze(1), masks)


def dice_coeff(predicted, target, epsilon=1e-6):
    inter = 2 * (predicted * target).sum(dim=(-1, -2))
    return ((inter + epsilon) / (predicted.sum(dim=(-1, -2)) + target.sum(dim=(-1, -2)) + epsilon)).mean()


@torch.inference_mode()
def evaluate(net, dataloader):
    net.eval()
    dice_score = 0
    for images, true_masks in dataloader:
        dice_score += dice_coeff((torch.sigmoid(net(images)) > 0.5).float(), true_masks)
    net.train()
    return dice_score / max(len(dataloader), 1)


def train_model(model, epochs=5, batch_size=16, learning_rate=1e-3, val_percent=0.2, amp=False):
    dataset = blobs(400)
    n_val = int(len(dataset) * val_percent)
    n_train = len(dataset) - n_val
    train_set, val_set = random_split(dataset, [n_train, n_val], generator=torch.Generator().manual_seed(0))
    train_loader = DataLoader(train_set, shuffle=True, batch_size=batch_size)
    val_loader = DataLoader(val_set, shuffle=False, drop_last=True, batch_size=batch_size)

    optimizer = torch.optim.RMSprop(model.parameters(), lr=learning_rate, weight_decay=1e-8, momentum=0.9)
    scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, "max", patience=2)
    grad_scaler = torch.amp.GradScaler("cpu", enabled=amp)
    criterion = nn.BCEWithLogitsLoss()
    global_step = 0
    history = []

    with holdfast.Run("runs/unet", {"model": model, "optimizer": optimizer}) as run:
        for epoch in run.epochs(epochs):
            model.train()
            epoch_loss = 0
            for images, true_masks in run.batches(train_loader):
                masks_pred = model(images)
                loss = criterion(masks_pred, true_masks)
                loss = loss + 1 - dice_coeff(torch.sigmoid(masks_pred), true_masks)
                optimizer.zero_grad(set_to_none=True)
                grad_scaler.scale(loss).backward()
                grad_scaler.unscale_(optimizer)
                torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
                grad_scaler.step(optimizer)
                grad_scaler.update()

                global_step += 1
                epoch_loss += loss.item()

                division_step = n_train // (5 * batch_size)
                if division_step > 0 and global_step % division_step == 0:
                    val_score = evaluate(model, val_loader)
                    scheduler.step(val_score)
                    logging.info("step %d: Dice %.4f", global_step, val_score)
                    history.append(
                        {"step": global_step, "dice": val_score.item(), "lr": optimizer.param_groups[0]["lr"]}
                    )
            logging.info("epoch %d: loss %.4f", epoch, epoch_loss / len(train_loader))
            history.append({"epoch": epoch, "loss": epoch_loss / len(train_loader)})
    return history


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(levelname)s: %(message)s")
    torch.manual_seed(0)
    torch.set_num_threads(1)
    model = UNet()
    history = train_model(model)

    weights = hashlib.sha256(b"".join(w.numpy().tobytes() for w in model.state_dict().values())).hexdigest()
    Path(sys.argv[1]).write_text(json.dumps({"weights": weights, "history": history}))
