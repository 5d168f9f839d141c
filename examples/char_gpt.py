"""A small GPT learns to write like Python's own manual, letter by letter; under a minute on two cores.

    python examples/char_gpt.py          # kill it whenever you like, and run it again: it resumes

The five lines marked with `# +` make it resume bit for bit. The text is what `help()` shows.
"""

from __future__ import annotations

import argparse
from pydoc_data.topics import topics

import torch
from torch import nn
from torch.nn import functional as F

from holdfast import Checkpointing, Run  # +

BLOCK, BATCH, WIDTH, HEADS, LAYERS, DROPOUT = 64, 16, 64, 4, 2, 0.1  # letters, texts, features, …

text = "\n".join(topics[name] for name in sorted(topics))
letters = sorted(set(text))
number_of = {letter: number for number, letter in enumerate(letters)}
data = torch.tensor([number_of[letter] for letter in text])


class Block(nn.Module):
    """Attention to the letters before, then a small network for each."""

    def __init__(self) -> None:
        super().__init__()
        self.norm_1, self.norm_2 = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.heads, self.mix = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.think = nn.Sequential(
            nn.Linear(WIDTH, 4 * WIDTH), nn.GELU(), nn.Linear(4 * WIDTH, WIDTH), nn.Dropout(DROPOUT)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        batch, length, _ = x.shape
        q, k, v = (
            each.view(batch, length, HEADS, -1).transpose(1, 2)
            for each in self.heads(self.norm_1(x)).split(WIDTH, 2)
        )
        seen = F.scaled_dot_product_attention(q, k, v, is_causal=True, dropout_p=DROPOUT * self.training)
        x = x + self.mix(seen.transpose(1, 2).reshape(batch, length, WIDTH))
        return x + self.think(self.norm_2(x))


class GPT(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.letter, self.place = nn.Embedding(len(letters), WIDTH), nn.Embedding(BLOCK, WIDTH)
        self.blocks = nn.Sequential(*(Block() for _ in range(LAYERS)))
        self.norm, self.head = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, len(letters))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Scores of the letter that follows each letter of `x` (batch, length)."""
        return self.head(self.norm(self.blocks(self.letter(x) + self.place(torch.arange(x.shape[1])))))


def batch() -> tuple[torch.Tensor, torch.Tensor]:
    starts = torch.randint(len(data) - BLOCK, (BATCH,)).tolist()
    taken = torch.stack([data[start : start + BLOCK + 1] for start in starts])
    return taken[:, :-1], taken[:, 1:]


@torch.no_grad()
def write(model: GPT, length: int) -> str:
    model.eval()
    written = [number_of["\n"]]
    for _ in range(length):
        scores = model(torch.tensor([written[-BLOCK:]]))[0, -1]
        written.append(int(torch.multinomial(scores.softmax(0), 1)))
    return "".join(letters[number] for number in written[1:])


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    arguments.add_argument("--steps", type=int, default=800)
    arguments.add_argument("--save-every", type=int, default=100)
    arguments.add_argument("--directory", default="runs/char_gpt")
    given = arguments.parse_args()

    torch.set_num_threads(1)  # more threads only wait for each other in a model as small as this
    torch.manual_seed(1)
    model = GPT()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, given.steps)

    policy = Checkpointing(save_on="batch_end", every_n=given.save_every, max_to_keep=2)  # +
    parts = {"model": model, "optimizer": optimizer, "scheduler": scheduler}  # +
    with Run(given.directory, parts, checkpointing=policy) as run:  # +
        for step in run.steps(given.steps):  # +
            x, y = batch()
            loss = F.cross_entropy(model(x).flatten(0, 1), y.flatten())
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            scheduler.step()
            if step % 100 == 0 or step == given.steps - 1:
                print(f"step {step:4}  loss {loss.item():.4f}", flush=True)
    print(write(model, 300))


if __name__ == "__main__":
    main()
