"""A small training on several processes, for tests that save and restore it: run as `python -m`, by `tests.support.ranks`.

sharded_training.py ACTION LAYOUT DIRECTORY [STEPS]
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, Partial, Replicate, distribute_tensor
from torch.distributed.tensor.parallel import ColwiseParallel, RowwiseParallel, parallelize_module

import holdfast
from holdfast.crew import ByRank, Crew, torch_crew
from holdfast.storage import LocalDisk
from holdfast.testing import Operation, TappedDisk

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
    """The model on all processes: `fsdp`, `hsdp`, `tp`, `2d` (both), or `plain`; `meta`: as `fsdp`, and no process makes all of it."""
    torch.manual_seed(0)
    with torch.device("meta" if layout == "meta" else "cpu"):
        model = Model()
    if layout == "plain":
        return model
    plan = {"first": ColwiseParallel(), "second": RowwiseParallel()}
    if layout == "tp":
        return parallelize_module(model, init_device_mesh("cpu", (size,)), plan)
    if layout in ("fsdp", "meta"):
        mesh = init_device_mesh("cpu", (size,))
    elif layout == "hsdp":
        mesh = init_device_mesh("cpu", (2, size // 2), mesh_dim_names=("replicate", "shard"))
    else:
        both = init_device_mesh("cpu", (size // 2, 2), mesh_dim_names=("dp", "tp"))
        parallelize_module(model, both["tp"], plan)
        mesh = both["dp"]
    for part in (model.first, model.second, model):
        fully_shard(part, mesh=mesh)
    return model.to_empty(device="cpu") if layout == "meta" else model


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


class Stopping(TappedDisk):
    """The disk of a rank to which a signal is sent before (or after) the n-th operation of a kind."""

    def __init__(self, disk: Any, kind: str, left: int, sent: signal.Signals, *, after: bool) -> None:
        super().__init__(disk)
        self.kind, self.left, self.sent, self.after = kind, left, sent, after

    def around(self, operation: Operation, do: Any) -> Any:
        self.left -= operation.kind == self.kind
        is_now = operation.kind == self.kind and self.left == 0
        if is_now and not self.after:
            os.kill(os.getpid(), self.sent)
        result = do()
        if is_now and self.after:
            os.kill(os.getpid(), self.sent)
        return result


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


def refuse(training: Training, directory: Path) -> None:
    """What cannot be done, and what all ranks hear of it."""
    training.train(1)
    training.save(str(directory / "one"))
    try:
        holdfast.save(directory / "alone", {"model": training.model})
    except holdfast.errors.UnsupportedStateError as err:
        say(alone=str(err))
    before = training.digest()
    into = {"model": training.model} | ({"more": 1} if training.crew.rank == 1 else {})
    try:
        holdfast.load(directory / "one", into=into, crew=training.crew)
    except holdfast.errors.HoldfastError as err:
        say(misfit=f"{type(err).__name__}: {err}")
    say(unchanged=training.digest() == before)
    if training.crew.rank == 0:  # any process reads all of it
        model = Model()
        holdfast.load(directory / "one", into={"model": model})
        say(read=float(model.frozen.sum()), tied=model.head.weight is model.embedding.weight)
    total = distribute_tensor(torch.ones(4), init_device_mesh("cpu", (training.crew.size,)), [Replicate()])
    partial = DTensor.from_local(total.to_local(), total.device_mesh, [Partial()])
    try:
        holdfast.save(directory / "partial", {"total": partial}, crew=training.crew)
    except holdfast.errors.UnsupportedStateError as err:
        say(partial=str(err))


def stop(training: Training, directory: Path, rank: str, kind: str, left: str, how: str, after: str) -> None:
    """One rank is killed or stopped in the second save."""
    training.train(1)
    training.save(str(directory / "old"))
    training.train(2)
    disk: Any = LocalDisk()
    if training.crew.rank == int(rank):
        disk = Stopping(disk, kind, int(left), signal.Signals[how], after=after == "after")
    say(pid=os.getpid())
    try:
        holdfast.save(directory / "new", training.state(), crew=training.crew, disk=disk)
        say(result="saved")
    except holdfast.errors.SaveError as err:
        say(result=str(err))
    os._exit(0)  # without the others


def restarted(training: Training, directory: Path, steps: str) -> None:
    """Resumes from the newest checkpoint; rank 1 is killed in a save, the first time."""
    is_first = os.environ["TORCHELASTIC_RESTART_COUNT"] == "0"
    done = [each.record.moment for each in holdfast.scan(directory) if each.record]
    dist.barrier()
    names = sorted(each.name for each in directory.glob("s*.ckpt.mml"))
    if names:
        training.load(str(directory / names[-1]))
    say(began=training.step, found=len(done))
    while training.step < int(steps):
        training.train(training.step + 1)
        disk: Any = LocalDisk()
        if training.step == 4 and training.crew.rank == 1 and is_first and "UNINTERRUPTED" not in os.environ:
            disk = Stopping(disk, "write", 1, signal.SIGKILL, after=True)
        holdfast.save(directory / f"s{training.step}", training.state(), crew=training.crew, disk=disk)
    say(end=training.digest())


ACTIONS = {"save": save, "restore": restore, "refuse": refuse, "stop": stop, "restarted": restarted}


def main(action: str, layout: str, directory: str, *arguments: str) -> None:
    torch.set_num_threads(1)
    os.environ.setdefault("RESULTS", f"{directory}/said-{os.environ['RANK']}.jsonl")
    # gloo, started again by torchrun, may wait for a connection that never comes: then once more.
    dist.init_process_group("gloo", timeout=timedelta(seconds=60))
    crew = torch_crew(timeout_s=float(os.environ.get("CREW_TIMEOUT_S", "60")))
    ACTIONS[action](Training(layout, crew), Path(directory), *arguments)
    dist.destroy_process_group()


if __name__ == "__main__":
    main(*sys.argv[1:])
