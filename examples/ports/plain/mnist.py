"""A convolutional network on small images, in the manner of PyTorch's mnist example.

    python mnist.py REPORT    # the final weights and numbers go to REPORT, as JSON

The images are noise in which a bar or a cross stands somewhere; which of four it is has to be told.
"""

import argparse
import hashlib
import json
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F
from torch.optim.lr_scheduler import StepLR
from torch.utils.data import DataLoader, TensorDataset


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(1, 8, 3), nn.Conv2d(8, 16, 3)
        self.dropout1, self.dropout2 = nn.Dropout(0.25), nn.Dropout(0.5)
        self.fc1, self.fc2 = nn.Linear(16 * 4 * 4, 32), nn.Linear(32, 4)

    def forward(self, x):
        x = F.relu(self.conv2(F.relu(self.conv1(x))))
        x = torch.flatten(self.dropout1(F.max_pool2d(x, 2)), 1)
        x = self.dropout2(F.relu(self.fc1(x)))
        return F.log_softmax(self.fc2(x), dim=1)


def images(n, seed):
    draw = torch.Generator().manual_seed(seed)
    x = 0.5 * torch.randn(n, 1, 12, 12, generator=draw)
    y = torch.randint(4, (n,), generator=draw)
    for image, kind, (row, column) in zip(
        x[:, 0], y.tolist(), torch.randint(2, 10, (n, 2), generator=draw).tolist(), strict=True
    ):
        if kind in (0, 2):
            image[row, column - 2 : column + 3] += 1.5
        if kind in (1, 2):
            image[row - 2 : row + 3, column] += 1.5
    return TensorDataset(x, y)


def train(args, model, train_loader, optimizer, epoch):
    model.train()
    for batch_idx, (data, target) in enumerate(train_loader):
        optimizer.zero_grad()
        loss = F.nll_loss(model(data), target)
        loss.backward()
        optimizer.step()
        if batch_idx % args.log_interval == 0:
            print(f"Train epoch {epoch}, batch {batch_idx}: loss {loss.item():.6f}")
            args.curve.append([epoch, batch_idx, loss.item()])


def test(model, test_loader):
    model.eval()
    test_loss, correct = 0.0, 0
    with torch.no_grad():
        for data, target in test_loader:
            output = model(data)
            test_loss += F.nll_loss(output, target, reduction="sum").item()
            correct += int((output.argmax(dim=1) == target).sum())
    test_loss /= len(test_loader.dataset)
    print(f"Test: average loss {test_loss:.4f}, {correct} of {len(test_loader.dataset)} right")
    return test_loss, correct


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("report")
    parser.add_argument("--epochs", type=int, default=7)
    parser.add_argument("--lr", type=float, default=0.5)
    parser.add_argument("--gamma", type=float, default=0.7)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--log-interval", type=int, default=8)
    args = parser.parse_args()
    args.curve = []  # what was logged
    torch.manual_seed(args.seed)
    torch.set_num_threads(1)

    train_loader = DataLoader(images(1200, seed=0), batch_size=32, shuffle=True)
    test_loader = DataLoader(images(400, seed=1), batch_size=200)
    model = Net()
    optimizer = torch.optim.Adadelta(model.parameters(), lr=args.lr)
    scheduler = StepLR(optimizer, step_size=2, gamma=args.gamma)
    best = 0
    for epoch in range(args.epochs):
        train(args, model, train_loader, optimizer, epoch)
        test_loss, correct = test(model, test_loader)
        best = max(best, correct)
        scheduler.step()

    weights = hashlib.sha256(b"".join(w.numpy().tobytes() for w in model.state_dict().values())).hexdigest()
    report = {"weights": weights, "test_loss": test_loss, "correct": correct, "best": best}
    report |= {"lr": scheduler.get_last_lr(), "curve": args.curve}
    Path(args.report).write_text(json.dumps(report))


if __name__ == "__main__":
    main()
