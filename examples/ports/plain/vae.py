"""A variational autoencoder of small images, in the manner of PyTorch's vae example.

    python vae.py REPORT    # the final weights and numbers go to REPORT, as JSON

The images are waves of random direction, length and phase.
"""

import argparse
import hashlib
import json
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

parser = argparse.ArgumentParser(description="a variational autoencoder of waves")
parser.add_argument("report")
parser.add_argument("--batch-size", type=int, default=32)
parser.add_argument("--epochs", type=int, default=12)
parser.add_argument("--seed", type=int, default=1)
parser.add_argument("--log-interval", type=int, default=10)
args = parser.parse_args()

torch.manual_seed(args.seed)
torch.set_num_threads(1)


def waves(n):
    at = torch.linspace(0, 6.28, 14)
    kx, ky, phase = torch.rand(3, n, 1, 1) * torch.tensor([2.0, 2.0, 6.28]).view(3, 1, 1, 1)
    return (0.5 + 0.5 * torch.sin(kx * at.view(1, 1, -1) + ky * at.view(1, -1, 1) + phase)).flatten(1)


train_loader = DataLoader(TensorDataset(waves(1000)), batch_size=args.batch_size, shuffle=True)
test_loader = DataLoader(TensorDataset(waves(200)), batch_size=100, shuffle=True)


class VAE(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc1, self.fc21, self.fc22 = nn.Linear(196, 64), nn.Linear(64, 8), nn.Linear(64, 8)
        self.fc3, self.fc4 = nn.Linear(8, 64), nn.Linear(64, 196)

    def encode(self, x):
        h1 = F.relu(self.fc1(x))
        return self.fc21(h1), self.fc22(h1)

    def decode(self, z):
        return torch.sigmoid(self.fc4(F.relu(self.fc3(z))))

    def forward(self, x):
        mu, logvar = self.encode(x)
        z = mu + torch.randn_like(mu) * torch.exp(0.5 * logvar)
        return self.decode(z), mu, logvar


model = VAE()
optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)


def loss_function(recon_x, x, mu, logvar):
    bce = F.binary_cross_entropy(recon_x, x, reduction="sum")
    kld = -0.5 * torch.sum(1 + logvar - mu.pow(2) - logvar.exp())
    return bce + kld


def train(epoch):
    model.train()
    train_loss = 0
    for batch_idx, (data,) in enumerate(train_loader):
        optimizer.zero_grad()
        recon_batch, mu, logvar = model(data)
        loss = loss_function(recon_batch, data, mu, logvar)
        loss.backward()
        train_loss += loss.item()
        optimizer.step()
        if batch_idx % args.log_interval == 0:
            print(f"Train epoch {epoch}, batch {batch_idx}: loss {loss.item() / len(data):.4f}")
    average = train_loss / len(train_loader.dataset)
    print(f"====> Epoch {epoch}: average loss {average:.4f}")
    return average


def test():
    model.eval()
    test_loss = 0
    with torch.no_grad():
        for (data,) in test_loader:
            recon_batch, mu, logvar = model(data)
            test_loss += loss_function(recon_batch, data, mu, logvar).item()
    test_loss /= len(test_loader.dataset)
    print(f"====> Test set loss {test_loss:.4f}")
    return test_loss


if __name__ == "__main__":
    averages, test_losses = [], []
    for epoch in range(args.epochs):
        averages.append(train(epoch))
        test_losses.append(test())
    with torch.no_grad():
        sample = model.decode(torch.randn(16, 8))

    states = [*model.state_dict().values(), sample]
    weights = hashlib.sha256(b"".join(w.numpy().tobytes() for w in states)).hexdigest()
    report = {"weights": weights, "averages": averages, "test_losses": test_losses}
    Path(args.report).write_text(json.dumps(report))
