"""Two processes have a model together (FSDP2) and learn to tell two spirals apart; about a minute on two cores.

    torchrun --nproc-per-node 2 examples/sharded_spirals.py     # kill it whenever you like, and run it again: it resumes

Every process runs all of this. A save makes one checkpoint of both, and the end is the same, bit for bit, however often it was killed.
"""

from __future__ import annotations

import argparse

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.fsdp import fully_shard
from torch.nn import functional as F
from torch.utils.data import DataLoader, DistributedSampler, TensorDataset

from holdfast import Checkpointing, Run

parser = argparse.ArgumentParser()
parser.add_argument("--directory", default="runs/sharded_spirals")
parser.add_argument("--epochs", type=int, default=20)
options = parser.parse_args()

torch.set_num_threads(1)
dist.init_process_group("gloo")
rank, size = dist.get_rank(), dist.get_world_size()

torch.manual_seed(0)  # the same on all processes: the weights, and the points
turn = torch.rand(1024) * 9
arm = torch.randint(2, (1024,))
angle = turn + torch.pi * arm
points = torch.stack([turn * angle.cos(), turn * angle.sin()], 1) / 9 + 0.02 * torch.randn(1024, 2)
model = nn.Sequential(
    nn.Linear(2, 128), nn.GELU(), nn.Dropout(0.1), nn.Linear(128, 128), nn.GELU(), nn.Linear(128, 2)
)
fully_shard(model, mesh=dist.init_device_mesh("cpu", (size,)))
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
samples = TensorDataset(points, arm)
sampler = DistributedSampler(samples, seed=1)
loader = DataLoader(samples, batch_size=32, sampler=sampler)
torch.manual_seed(100 + rank)  # each process draws its own dropout

policy = Checkpointing(save_on="batch_end", every_n=8, max_to_keep=3)
with Run(options.directory, {"model": model, "optimizer": optimizer}, checkpointing=policy) as run:
    if rank == 0 and run.last_resume is not None:
        print("resumed from", run.last_resume.record.name)
    for epoch in run.epochs(options.epochs):
        sampler.set_epoch(epoch)
        for where, which in run.batches(loader):
            loss = F.cross_entropy(model(where), which)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            run.log(loss=loss)
    if rank == 0 and run.last_resume is not None:
        print("the resume was", run.last_resume.verdict)

model.eval()
with torch.no_grad():
    weights = sum(each.full_tensor().double().abs().sum() for each in model.parameters())
    hits = (model(points).argmax(1) == arm).float().mean()
if rank == 0:
    print(f"{hits:.1%} of the points, weights {float(weights):.17g}")
dist.destroy_process_group()
