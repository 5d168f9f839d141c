"""accelerate: two batches for each update."""

import outside
import torch
from accelerate import Accelerator

from holdfast.integrations.accelerate import hold

torch.manual_seed(0)
accelerator = Accelerator(cpu=True, gradient_accumulation_steps=2)
model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Dropout(0.1), torch.nn.Linear(8, 1))
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
x = torch.randn(32, 4)
data = torch.utils.data.TensorDataset(x, x.sum(1, keepdim=True))
loader = torch.utils.data.DataLoader(data, batch_size=8, shuffle=True)
model, optimizer, loader = accelerator.prepare(model, optimizer, loader)
with hold(accelerator, "runs/mine") as run:
    for _ in run.epochs(5):
        for inputs, targets in run.batches(loader):
            with accelerator.accumulate(model):
                accelerator.backward((model(inputs) - targets).square().mean() * outside.factor())
                optimizer.step()
                optimizer.zero_grad()
