"""A script that trains a sharded model in a `Run`, as every rank of a job runs it; by `tests.support.ranks` or torchrun.

sharded_run.py DIRECTORY [ACTION]
"""

from __future__ import annotations

import hashlib
import os
import random
import signal
import sys
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.utils.data import DataLoader, TensorDataset

import holdfast
from holdfast import Checkpointing, Run
from tests.support.sharded_training import Stopping, full, say

STEPS = 12
POLICY = Checkpointing(save_on="batch_end", every_n=3, max_to_keep=3)


class Training:
    """Dropout, data in another order on each rank, gradients of two batches to an update, and variables of the script."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        self.model = nn.Sequential(nn.Linear(8, 17), nn.Dropout(0.3), nn.Linear(17, 1))
        fully_shard(self.model, mesh=init_device_mesh("cpu", (dist.get_world_size(),)))
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=1e-2)
        data = TensorDataset(torch.randn(24, 8, generator=torch.Generator().manual_seed(1)))
        torch.manual_seed(100 + dist.get_rank())
        random.seed(dist.get_rank())
        self.loader = DataLoader(data, batch_size=4, shuffle=True)

    def digest(self) -> str:
        """Of the weights, in full."""
        found = hashlib.sha256()
        for each in self.model.parameters():
            found.update(full(each).contiguous().numpy().tobytes())
        return found.hexdigest()


def train(directory: str, policy: Any, at: Any = lambda step: None, **options: Any) -> None:
    training = Training()
    model, optimizer = training.model, training.optimizer
    total, seen = 0.0, []
    with Run(directory, {"model": model, "optimizer": optimizer}, checkpointing=policy, **options) as run:
        for epoch in run.epochs(2):
            for (inputs,) in run.batches(training.loader):
                at(epoch * 6 + run.batch)
                loss = model(inputs).square().mean() * (1 + random.random())
                loss.backward()
                if run.batch % 2:
                    optimizer.step()
                    optimizer.zero_grad()
                total += loss.item()
                seen.append(float(inputs.sum()))
                run.log(loss=loss)
        digest = run.state_digest()
    verdict = None if run.last_resume is None else run.last_resume.verdict
    began = None if run.last_resume is None else run.last_resume.record.name
    said: dict[str, Any] = {"total": total, "seen": seen, "drawn": [random.random(), float(torch.rand(1))]}
    say(end=training.digest(), digest=digest, verdict=verdict, began=began, losses=len(run.results), **said)


def killed(directory: str, rank: str, batch: str) -> None:
    """One rank is killed, or all are, in the middle of a batch."""

    def at(number: int) -> None:
        if number == int(batch) and rank in ("all", str(dist.get_rank())):
            os.kill(os.getpid(), signal.SIGKILL)

    train(directory, POLICY, at)


def signalled(directory: str, ranks: str, batch: str) -> None:
    """These ranks are told to leave in the middle of a batch."""

    def at(number: int) -> None:
        time.sleep(0.1)
        if number == int(batch) and str(dist.get_rank()) in ranks:
            os.kill(os.getpid(), signal.SIGTERM)

    train(directory, Checkpointing(save_on="epoch_end", save_on_preemption=True), at)


def slowly(directory: str, when: str, killed_at: str = "") -> None:
    """Saves by time: of a batch that takes 0.1 s. Both are killed at a batch, if one is named."""

    def at(number: int) -> None:
        time.sleep(0.1)
        if str(number) == killed_at:
            os.kill(os.getpid(), signal.SIGKILL)

    train(directory, None if when == "default" else Checkpointing(when=when), at)


def requested(directory: str, rank: str, how: str) -> None:
    """One rank alone asks for a save."""
    policy = Checkpointing(save_on="phase_end", name_template="{phase}_{epoch}_{batch}")

    def at(number: int) -> None:
        time.sleep(0.15)
        if number == 2 and dist.get_rank() == int(rank):
            if how == "request":
                policy.request()
            else:
                Path(directory, "save-now").touch()

    train(directory, policy, at)


def killed_in_save(directory: str, rank: str, kind: str, number: str) -> None:
    """One rank is killed in its third save."""
    from holdfast.runtime import _directory
    from holdfast.storage import LocalDisk

    if dist.get_rank() == int(rank):
        disk = Stopping(LocalDisk(), kind, int(number), signal.SIGKILL, after=True)
        _directory.disk_of_life = lambda make: disk
    try:
        train(directory, POLICY)
    except holdfast.errors.HoldfastError as err:
        say(failed=f"{type(err).__name__}: {err}")
        os._exit(3)


def refused(directory: str) -> None:
    """What cannot be done is refused by name, and nothing hangs."""
    policies = {
        "exception": Checkpointing(save_on="epoch_end", save_on_exception=True),
        "divergence": Checkpointing(save_on="epoch_end", on_divergence="rollback"),
        "lazy": Checkpointing(save_on="epoch_end", snapshot="lazy"),
    }
    for name, policy in policies.items():
        say(**{name: _error_of(lambda policy=policy: train(directory, policy))})
    say(shared=_error_of(lambda: train(directory, POLICY, share_directory=True)))
    say(proved=_error_of(lambda: train(directory, POLICY, resume=holdfast.Resume(prove=True))))
    say(left=os.path.exists(directory) and sorted(os.listdir(directory)))


def _error_of(do: Any) -> str:
    try:
        do()
    except holdfast.errors.HoldfastError as err:
        return f"{type(err).__name__}: {err}"
    return "none"


def resumed(directory: str) -> None:
    """Go on; what stands in the way is said."""
    try:
        train(directory, POLICY)
    except holdfast.errors.HoldfastError as err:
        say(failed=f"{type(err).__name__}: {err}")


def unlike(directory: str) -> None:
    """What only one rank has in its state, or its own way."""
    training = Training()
    state = {"model": training.model, "optimizer": training.optimizer} | (
        {"more": 1} if dist.get_rank() else {}
    )
    say(unlike=_error_of(lambda: Run(directory, state, checkpointing=POLICY).__enter__()))


def manual(directory: str) -> None:
    """Saves on request, twice under one name, and a rolling name."""
    training = Training()
    policy = Checkpointing(save_on="batch_end", name_template="last")
    with Run(
        directory, {"model": training.model, "optimizer": training.optimizer}, checkpointing=policy
    ) as run:
        for _ in run.epochs(1):
            for (inputs,) in run.batches(training.loader):
                training.model(inputs).square().mean().backward()
                training.optimizer.step()
                training.optimizer.zero_grad()
                run.save("chosen")
    say(end=training.digest(), left=sorted(os.listdir(directory)))


def averaged(directory: str, epochs: str) -> None:
    """Arrays that processes have together, in a variable of the script: an average that follows the weights."""
    training = Training()
    averages = [each.detach().clone() for each in training.model.parameters()]
    state = {"model": training.model, "optimizer": training.optimizer}
    with Run(directory, state, checkpointing=Checkpointing(save_on="epoch_end")) as run:
        for _ in run.epochs(int(epochs)):
            for (inputs,) in run.batches(training.loader):
                training.model(inputs).square().mean().backward()
                training.optimizer.step()
                training.optimizer.zero_grad()
                with torch.no_grad():
                    for average, weight in zip(averages, training.model.parameters(), strict=True):
                        average.lerp_(weight, 0.1)
    say(verdict=run.last_resume and run.last_resume.verdict)


def plain(directory: str) -> None:
    """All processes have all of the model, as with DDP: each run is one of a single process."""
    rank, model = dist.get_rank(), nn.Linear(2, 1)
    with Run(f"{directory}/own{rank}", {"model": model}) as run:
        for _ in run.steps(2):
            run.log(rank=rank)
    say(own=[each.record.parts for each in holdfast.scan(f"{directory}/own{rank}")])
    if rank == 0:
        with Run(f"{directory}/same", {"model": model}):
            dist.barrier()
            dist.barrier()
    else:
        dist.barrier()
        say(same=_error_of(lambda: Run(f"{directory}/same", {"model": model}).__enter__()))
        dist.barrier()


ACTIONS = {
    each.__name__: each
    for each in (
        killed,
        killed_in_save,
        signalled,
        slowly,
        requested,
        refused,
        resumed,
        unlike,
        manual,
        averaged,
        plain,
    )
}


def main(directory: str, action: str = "train", *arguments: str) -> None:
    torch.set_num_threads(1)
    os.environ.setdefault("RESULTS", f"{directory}-said-{os.environ['RANK']}.jsonl")
    dist.init_process_group("gloo", timeout=timedelta(seconds=float(os.environ.get("LIMIT_S", "60"))))
    if action == "train":
        train(directory, POLICY)
    else:
        ACTIONS[action](directory, *arguments)
    dist.destroy_process_group()


if __name__ == "__main__":
    main(*sys.argv[1:])
