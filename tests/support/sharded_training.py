"""A small training on several processes, for tests that save and restore it: run as `python -m`, by `tests.support.ranks`.

sharded_training.py ACTION LAYOUT DIRECTORY [STEPS]
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor
from torch.distributed.tensor.parallel import ColwiseParallel, RowwiseParallel, parallelize_module

import holdfast
from holdfast.crew import ByRank, Crew, torch_crew

ROWS, WIDTH, HIDDEN = 193, 32, 48  # no number of processes divides the rows


class Model(nn.Module):
    """Tied embedding and head, a frozen part, buffers of several kinds, dropout."""

    def __init__(self, dropout: float = 0.3) -> None:
        super().__init__()
        self.embedding = nn.Embedding(ROWS, WIDTH)
        self.first, self.second = nn.Linear(WIDTH, HIDDEN), nn.Linear(HIDDEN, WIDTH)
        self.norm = nn.LayerNorm(WIDTH)
        self.tiny = nn.Parameter(torch.ones(1))  # of which all processes but one have nothing
        self.frozen = nn.Parameter(torch.arange(10.0), requires_grad=False)
        self.sixteen = nn.Parameter(torch.randn(6, WIDTH, dtype=torch.bfloat16), requires_grad=False)
        self.register_buffer("count", torch.tensor(0))
        self.register_buffer("table", torch.arange(1000.0))
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(WIDTH, ROWS, bias=False)
        self.head.weight = self.embedding.weight

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        self.count += 1
        hidden = self.dropout(self.embedding(tokens))
        hidden = hidden + self.second(torch.relu(self.first(hidden)))
        return self.head(self.norm(hidden)) * self.tiny


def build(layout: str, size: int) -> nn.Module:
    """The model on all processes: `fsdp`, `hsdp`, `tp`, `2d` (both), or `plain`."""
    torch.manual_seed(0)
    model = Model()
    if layout == "plain":
        return model
    plan = {"first": ColwiseParallel(), "second": RowwiseParallel()}
    if layout == "tp":
        return parallelize_module(model, init_device_mesh("cpu", (size,)), plan)
    if layout == "fsdp":
        mesh = init_device_mesh("cpu", (size,))
    elif layout == "hsdp":
        mesh = init_device_mesh("cpu", (2, size // 2), mesh_dim_names=("replicate", "shard"))
    else:
        both = init_device_mesh("cpu", (size // 2, 2), mesh_dim_names=("dp", "tp"))
        parallelize_module(model, both["tp"], plan)
        mesh = both["dp"]
    for part in (model.first, model.second, model):
        fully_shard(part, mesh=mesh)
    return model


class Training:
    def __init__(self, layout: str, crew: Crew) -> None:
        self.crew = crew
        self.model = build(layout, crew.size)
        trained = [each for each in self.model.parameters() if each.requires_grad]
        self.optimizer = torch.optim.AdamW(trained, lr=1e-2)
        self.schedule = torch.optim.lr_scheduler.StepLR(self.optimizer, 2)
        self.step = 0
        together = {"tp": crew.size, "2d": 2}.get(
            layout, 1
        )  # so many have one part of the batch, and drop out alike
        torch.manual_seed(100 + crew.rank // together)

    def train(self, steps: int) -> None:
        while self.step < steps:
            generator = torch.Generator().manual_seed(self.step)
            tokens = torch.randint(ROWS, (8, 5), generator=generator)
            loss = self.model(tokens).float().square().mean()
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            self.schedule.step()
            self.step += 1

    def state(self) -> dict[str, Any]:
        return {
            "model": self.model,
            "optimizer": self.optimizer,
            "schedule": self.schedule,
            "step": self.step,
            "random": ByRank(torch.get_rng_state(), self.crew),
        }

    def save(self, path: str) -> None:
        holdfast.save(path, self.state(), crew=self.crew)

    def load(self, path: str) -> holdfast.state.Restored:
        state = self.state()
        restored = holdfast.load(path, into=state, crew=self.crew)
        self.step = state["step"]
        torch.set_rng_state(state["random"].value)
        return restored

    def values(self) -> dict[str, torch.Tensor]:
        """All arrays in full, on every process."""
        found: dict[str, torch.Tensor] = {}
        for name, value in self.model.state_dict().items():
            found[f"model/{name}"] = full(value)
        names = {parameter: name for name, parameter in self.model.named_parameters()}
        for parameter, entries in self.optimizer.state.items():
            for key, value in entries.items():
                found[f"optimizer/{names[parameter]}/{key}"] = full(value)
        return found

    def digest(self) -> str:
        """Of all arrays, in full: equal on any number of processes that have the same."""
        found = hashlib.sha256()
        for name, value in sorted(self.values().items()):
            found.update(name.encode() + value.contiguous().view(-1).view(torch.uint8).numpy().tobytes())
        found.update(json.dumps([self.step, self.optimizer.param_groups[0]["lr"]]).encode())
        return found.hexdigest()


def full(value: torch.Tensor) -> torch.Tensor:
    return (value.full_tensor() if isinstance(value, DTensor) else value).detach()


def say(**facts: Any) -> None:
    """Into the file of this rank's results."""
    with open(os.environ["RESULTS"], "a") as file:
        file.write(json.dumps(facts) + "\n")


def main(action: str, layout: str, directory: str, *arguments: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo")
    crew = torch_crew(timeout_s=float(os.environ.get("CREW_TIMEOUT_S", "60")))
    training = Training(layout, crew)
    ACTIONS[action](training, Path(directory), *arguments)
    if action != "kill":
        dist.destroy_process_group()


def save(training: Training, directory: Path) -> None:
    training.train(3)
    training.save(str(directory / "three"))
    say(saved=training.digest())
    training.train(5)
    training.save(str(directory / "five"))
    say(end=training.digest())


def restore(training: Training, directory: Path, name: str = "three") -> None:
    restored = training.load(str(directory / name))
    say(restored=training.digest(), kept=list(restored.kept))
    training.train(5)
    say(end=training.digest())


ACTIONS = {"save": save, "restore": restore}

if __name__ == "__main__":
    main(*sys.argv[1:])
