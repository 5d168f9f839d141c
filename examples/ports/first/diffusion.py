"""Denoising diffusion of points on a spiral, with a `Trainer` and an EMA in the manner of denoising-diffusion-pytorch.

python diffusion.py REPORT    # the final weights and numbers go to REPORT, as JSON
"""

import copy
import hashlib
import json
import sys
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset

import holdfast


def cycle(dl):
    while True:
        yield from dl


class Spiral(Dataset):
    def __init__(self, n):
        turn = torch.rand(n) * 9
        self.points = torch.stack([turn.cos(), turn.sin()], dim=1) * turn.unsqueeze(1) / 9

    def __len__(self):
        return len(self.points)

    def __getitem__(self, index):
        return self.points[index]


class Denoiser(nn.Module):
    def __init__(self, timesteps, width=64):
        super().__init__()
        self.time = nn.Embedding(timesteps, width)
        self.first, self.last = nn.Linear(2, width), nn.Linear(width, 2)
        self.middle = nn.Sequential(nn.SiLU(), nn.Linear(width, width), nn.SiLU())

    def forward(self, x, t):
        return self.last(self.middle(self.first(x) + self.time(t)))


class GaussianDiffusion(nn.Module):
    def __init__(self, model, timesteps=40):
        super().__init__()
        self.model, self.timesteps = model, timesteps
        betas = torch.linspace(1e-3, 0.15, timesteps)
        self.register_buffer("betas", betas)
        self.register_buffer("alphas_cumprod", (1 - betas).cumprod(0))

    def forward(self, x):
        t = torch.randint(self.timesteps, (len(x),))
        noise = torch.randn_like(x)
        kept = self.alphas_cumprod[t].unsqueeze(1)
        return F.mse_loss(self.model(kept.sqrt() * x + (1 - kept).sqrt() * noise, t), noise)

    @torch.no_grad()
    def sample(self, n):
        x = torch.randn(n, 2)
        for t in reversed(range(self.timesteps)):
            beta, kept = self.betas[t], self.alphas_cumprod[t]
            noise = self.model(x, torch.full((n,), t))
            x = (x - beta / (1 - kept).sqrt() * noise) / (1 - beta).sqrt()
            if t > 0:
                x = x + beta.sqrt() * torch.randn_like(x)
        return x


class EMA:
    """A running mean of a model's weights, begun late and updated now and then."""

    def __init__(self, model, beta=0.97, update_every=4, start=20):
        self.online_model, self.ema_model = model, copy.deepcopy(model).requires_grad_(False)
        self.beta, self.update_every, self.start, self.step = beta, update_every, start, 0

    @torch.no_grad()
    def update(self):
        self.step += 1
        if self.step % self.update_every:
            return
        if self.step <= self.start:
            self.ema_model.load_state_dict(self.online_model.state_dict())
            return
        for mean, new in zip(self.ema_model.parameters(), self.online_model.parameters(), strict=True):
            mean.lerp_(new, 1 - self.beta)


class Trainer:
    def __init__(self, diffusion_model, dataset, *, train_num_steps=300, gradient_accumulate_every=2):
        self.model = diffusion_model
        self.train_num_steps, self.gradient_accumulate_every = train_num_steps, gradient_accumulate_every
        self.save_and_sample_every = 60
        self.dl = cycle(DataLoader(dataset, batch_size=64, shuffle=True))
        self.opt = torch.optim.Adam(diffusion_model.parameters(), lr=2e-3, betas=(0.9, 0.99))
        self.ema = EMA(diffusion_model)
        self.step = 0
        self.samples = []
        self.losses = []

    def train(self):
        with holdfast.Run("runs/diffusion", {"model": self.model, "opt": self.opt}) as run:
            for _ in run.steps(self.train_num_steps):
                total_loss = 0.0
                for _ in range(self.gradient_accumulate_every):
                    loss = self.model(next(self.dl)) / self.gradient_accumulate_every
                    total_loss += loss.item()
                    loss.backward()
                torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
                self.opt.step()
                self.opt.zero_grad()
                self.losses.append(total_loss)

                self.step += 1
                self.ema.update()
                if self.step % self.save_and_sample_every == 0:
                    points = self.ema.ema_model.sample(16)
                    self.samples.append([points.mean().item(), points.std().item()])
                    print(f"step {self.step}: loss {total_loss:.4f}, samples spread by {points.std():.3f}")


if __name__ == "__main__":
    torch.manual_seed(0)
    torch.set_num_threads(1)
    diffusion = GaussianDiffusion(Denoiser(timesteps=40))
    trainer = Trainer(diffusion, Spiral(1000))
    trainer.train()

    states = [*diffusion.state_dict().values(), *trainer.ema.ema_model.state_dict().values()]
    weights = hashlib.sha256(b"".join(w.numpy().tobytes() for w in states)).hexdigest()
    report = {"weights": weights, "step": trainer.step, "samples": trainer.samples, "losses": trainer.losses}
    Path(sys.argv[1]).write_text(json.dumps(report))
