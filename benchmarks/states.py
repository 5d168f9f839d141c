"""The states that are saved: S1 to S5 (those that are trained are in `training.py`), in full size or scaled down. All are built from fixed seeds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

State = dict[str, Any]
Variant = Literal["", "foreach", "fused", "EMA", "tied"]
MiB = 1 << 20
GiB = 1 << 30


@dataclass(frozen=True, slots=True)
class Scale:
    """How large the states are and how often each measurement is repeated."""

    name: str
    repeats: int
    s1_bytes: int = GiB
    s2_arrays: int = 5_000
    s3_bytes: tuple[int, int] = (500_000_000, 50_000_000)  # frozen, changing
    s3_saves: int = 10
    s4_bytes: int = 4 * GiB
    s4_saves: int = 50
    s5_width: int = 768
    s5_layers: int = 10  # about 75 million parameters: 300 MB, and twice that for Adam
    growth_bytes: tuple[int, ...] = (16 * MiB, 64 * MiB, 256 * MiB, GiB, 4 * GiB, 8 * GiB)
    scanned: int = 10_000
    s6_parameters: tuple[int, ...] = (200, 800, 4_000)
    s6_variants: tuple[Variant, ...] = ("foreach", "fused", "EMA", "tied")  # of the number in the middle
    s6_numbers: int = 5_000_000
    s7_steps: int = 20
    s8_steps: int = 4_000


FULL = Scale("full", repeats=5)
QUICK = Scale(
    "quick",
    repeats=3,
    s1_bytes=128 * MiB,
    s2_arrays=2_000,
    s3_bytes=(62_500_000, 6_250_000),
    s4_bytes=512 * MiB,
    s4_saves=10,
    s5_width=256,
    s5_layers=6,
    growth_bytes=(16 * MiB, 64 * MiB, 256 * MiB, GiB),
    scanned=1_000,
    s6_parameters=(100, 400),
    s6_variants=(),
    s6_numbers=2_500_000,
    s7_steps=8,
    s8_steps=1_000,
)
TINY = Scale(
    "tiny",
    repeats=1,
    s1_bytes=4 * MiB,
    s2_arrays=50,
    s3_bytes=(1_000_000, 500_000),
    s3_saves=2,
    s4_bytes=8 * MiB,
    s4_saves=3,
    s5_width=64,
    s5_layers=1,
    growth_bytes=(MiB, 2 * MiB),
    scanned=10,
    s6_parameters=(8, 16),
    s6_variants=("tied",),
    s6_numbers=4_000,
    s7_steps=6,
    s8_steps=50,
)


def transformer(size: int) -> State:
    """S1: `size` bytes like a transformer with Adam, in about 170 arrays: weights and two moments for each."""
    noise = torch.Generator().manual_seed(1)
    layers = 9
    # A layer has 12 width² weights; the embedding takes as much as one layer. Three arrays for each weight.
    width = int((size / (3 * 4 * 12 * (layers + 1))) ** 0.5) // 16 * 16

    def weights() -> dict[str, Tensor]:
        shapes = {"embedding.weight": (12 * width, width), "norm.weight": (width,), "norm.bias": (width,)}
        for layer in range(layers):
            shapes |= {
                f"layers.{layer}.attention.in.weight": (3 * width, width),
                f"layers.{layer}.attention.out.weight": (width, width),
                f"layers.{layer}.mlp.in.weight": (4 * width, width),
                f"layers.{layer}.mlp.out.weight": (width, 4 * width),
                f"layers.{layer}.norm.weight": (width,),
                f"layers.{layer}.norm.bias": (width,),
            }
        return {name: torch.randn(shape, generator=noise) for name, shape in shapes.items()}

    return {"model": weights(), "exp_avg": weights(), "exp_avg_sq": weights(), "step": 1000}


def many_small(arrays: int) -> State:
    """S2: `arrays` arrays of 4 KB, each among nested Python data."""
    noise = torch.Generator().manual_seed(2)
    return {
        "blocks": [
            {
                "name": f"block {index}",
                "weight": torch.randn(1024, generator=noise),
                "options": {"rate": 0.1 * index, "axes": [index, index + 1], "on": index % 2 == 0},
            }
            for index in range(arrays)
        ],
        "history": [[epoch, 1 / (epoch + 1)] for epoch in range(200)],
    }


def frozen_and_changing(sizes: tuple[int, int]) -> State:
    """S3: arrays that stay as they are (`sizes[0]` bytes) and arrays that `train_a_little` changes."""
    noise = torch.Generator().manual_seed(3)
    frozen, changing = sizes
    return {
        "backbone": {f"layer{i}": torch.randn(frozen // 4 // 20, generator=noise) for i in range(20)},
        "head": {f"layer{i}": torch.randn(changing // 4 // 10, generator=noise) for i in range(10)},
    }


def train_a_little(state: State) -> None:
    """Change every element of S3's head."""
    for tensor in state["head"].values():
        tensor.mul_(1.001).add_(0.001)


def replay_buffer(size: int) -> State:
    """S4: transitions in a ring; the oldest are replaced by `play`."""
    noise = torch.Generator().manual_seed(4)
    features = 256
    rows = size // (4 * (2 * features + 8 + 2))
    return {
        "observation": torch.randn(rows, features, generator=noise),
        "next_observation": torch.randn(rows, features, generator=noise),
        "action": torch.randn(rows, 8, generator=noise),
        "reward": torch.randn(rows, generator=noise),
        "done": torch.randn(rows, generator=noise),
        "position": 0,
    }


def play(buffer: State, *, share: float = 0.01) -> None:
    """Replace the oldest `share` of the transitions."""
    rows = len(buffer["reward"])
    first, number = buffer["position"], max(1, int(share * rows))
    where = torch.arange(first, first + number) % rows
    for name in ("observation", "next_observation", "action", "reward", "done"):
        buffer[name][where] = torch.randn(buffer[name][where].shape)
    buffer["position"] = (first + number) % rows


class Language(nn.Module):
    """S5: a small transformer that predicts the next of 1,000 tokens."""

    def __init__(self, width: int, layers: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(1000, width)
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(width, 8, 4 * width, dropout=0.0, batch_first=True)
            for _ in range(layers)
        )
        self.head = nn.Linear(width, 1000)

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.embedding(tokens)
        for layer in self.layers:
            x = layer(x)
        return self.head(x)


def tensors(state: Any, path: str = "") -> Iterator[tuple[str, Tensor]]:
    """Every tensor of a state with its path, in order."""
    if isinstance(state, Tensor):
        yield path, state
    elif isinstance(state, dict | list | tuple):
        for key, value in state.items() if isinstance(state, dict) else enumerate(state):
            yield from tensors(value, f"{path}/{key}" if path else str(key))


def size_bytes(state: State) -> int:
    return sum(tensor.nbytes for _, tensor in tensors(state))


def blank(state: Any) -> Any:
    """The same structure with other tensors, of zeros: what a newly started script has to restore into."""
    if isinstance(state, Tensor):
        return torch.zeros_like(state)
    if isinstance(state, dict):
        return {key: blank(value) for key, value in state.items()}
    if isinstance(state, list | tuple):
        return type(state)(blank(value) for value in state)
    return state


def fill(live: State, loaded: Any) -> None:
    """Copy the tensors of one state into those of another of the same structure."""
    for (_, mine), (_, theirs) in zip(tensors(live), tensors(loaded), strict=True):
        mine.copy_(theirs)


def arrays(state: State) -> dict[str, Any]:
    """Every tensor as a NumPy array over the same memory, by path; what is no tensor is left out."""
    return {path: tensor.numpy() for path, tensor in tensors(state)}


def as_numpy(state: Any) -> Any:
    """The same structure with NumPy arrays over the same memory."""
    if isinstance(state, Tensor):
        return state.detach().numpy()
    if isinstance(state, dict):
        return {key: as_numpy(value) for key, value in state.items()}
    if isinstance(state, list | tuple):
        return type(state)(as_numpy(value) for value in state)
    return state


def fill_arrays(live: State, loaded: Mapping[str, Any]) -> None:
    """Copy arrays, by path, into the tensors of a state."""
    for path, tensor in tensors(live):
        np.copyto(tensor.numpy(), loaded[path])


def differences(left: Any, right: Any) -> list[str]:
    """Paths of tensors that are not equal; used so that nobody wins by losing bytes."""
    theirs = dict(tensors(right))
    return [path for path, mine in tensors(left) if path not in theirs or not torch.equal(mine, theirs[path])]
