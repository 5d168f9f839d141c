"""A small GPT learns to sort digits, with a `Trainer` and callbacks in the manner of minGPT.

python mingpt.py REPORT    # the final weights and numbers go to REPORT, as JSON
"""

import hashlib
import json
import sys
import time
from collections import defaultdict
from pathlib import Path
from types import SimpleNamespace

import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset

import holdfast


class SortDataset(Dataset):
    """Six digits, then the same ones sorted; only the sorted ones count."""

    def __init__(self, size, length=6, num_digits=4):
        self.length, self.num_digits = length, num_digits
        self.digits = torch.randint(num_digits, (size, length), generator=torch.Generator().manual_seed(7))

    def __len__(self):
        return len(self.digits)

    def __getitem__(self, idx):
        digits = self.digits[idx]
        line = torch.cat((digits, digits.sort()[0]))
        x, y = line[:-1].clone(), line[1:].clone()
        y[: self.length - 1] = -1
        return x, y


class GPT(nn.Module):
    def __init__(self, vocab_size, block_size, width=48, layers=2):
        super().__init__()
        self.token, self.position = nn.Embedding(vocab_size, width), nn.Embedding(block_size, width)
        self.blocks = nn.ModuleList(
            nn.TransformerEncoderLayer(width, 3, 4 * width, dropout=0.1, batch_first=True, norm_first=True)
            for _ in range(layers)
        )
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, vocab_size)
        self.register_buffer("mask", nn.Transformer.generate_square_subsequent_mask(block_size))

    def forward(self, idx, targets):
        x = self.token(idx) + self.position(torch.arange(idx.shape[1]))
        for block in self.blocks:
            x = block(x, src_mask=self.mask, is_causal=True)
        logits = self.head(self.norm(x))
        return logits, F.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=-1)


class Trainer:
    def __init__(self, config, model, train_dataset):
        self.config, self.model, self.train_dataset = config, model, train_dataset
        self.optimizer = None
        self.callbacks = defaultdict(list)
        self.iter_num, self.iter_time, self.iter_dt = 0, 0.0, 0.0

    def add_callback(self, onevent, callback):
        self.callbacks[onevent].append(callback)

    def trigger_callbacks(self, onevent):
        for callback in self.callbacks[onevent]:
            callback(self)

    def run(self):
        model, config = self.model, self.config
        self.optimizer = torch.optim.AdamW(model.parameters(), lr=config.learning_rate)
        train_loader = DataLoader(self.train_dataset, batch_size=config.batch_size, shuffle=True)
        model.train()
        self.iter_num, self.iter_time = 0, time.time()
        data_iter = iter(train_loader)
        with holdfast.Run("runs/mingpt", {"model": model, "optimizer": self.optimizer}) as run:
            for _ in run.steps(config.max_iters):
                try:
                    batch = next(data_iter)
                except StopIteration:
                    data_iter = iter(train_loader)
                    batch = next(data_iter)
                x, y = batch
                _, self.loss = model(x, y)
                model.zero_grad(set_to_none=True)
                self.loss.backward()
                torch.nn.utils.clip_grad_norm_(model.parameters(), config.grad_norm_clip)
                self.optimizer.step()

                self.trigger_callbacks("on_batch_end")
                self.iter_num += 1
                now = time.time()
                self.iter_dt, self.iter_time = now - self.iter_time, now


@torch.no_grad()
def accuracy(model, dataset):
    model.eval()
    x, y = next(iter(DataLoader(dataset, batch_size=200)))
    right = (model(x, y)[0].argmax(-1) == y)[y != -1].float().mean().item()
    model.train()
    return right


torch.manual_seed(3407)
torch.set_num_threads(1)
train_dataset, test_dataset = SortDataset(1000), SortDataset(200)
model = GPT(vocab_size=4, block_size=11)
config = SimpleNamespace(learning_rate=1e-3, batch_size=32, max_iters=100, grad_norm_clip=1.0)
trainer = Trainer(config, model, train_dataset)
best = {"accuracy": 0.0, "iter_num": 0}
losses = []


def batch_end_callback(trainer):
    losses.append(trainer.loss.item())
    if trainer.iter_num % 20 == 0:
        score = accuracy(trainer.model, test_dataset)
        print(f"iter_dt {trainer.iter_dt * 1000:.2f} ms; iter {trainer.iter_num}: {score:.3f} right")
        if score > best["accuracy"]:
            best.update(accuracy=score, iter_num=trainer.iter_num)


trainer.add_callback("on_batch_end", batch_end_callback)
trainer.run()

weights = hashlib.sha256(b"".join(w.numpy().tobytes() for w in model.state_dict().values())).hexdigest()
report = {"weights": weights, "best": best, "iter_num": trainer.iter_num, "losses": losses}
Path(sys.argv[1]).write_text(json.dumps(report))
