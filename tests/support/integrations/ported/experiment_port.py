"""Experiment: two phases of training, and a test."""

import outside
import torch

from holdfast import Checkpointing, Dataset, EvalPhase, Experiment, Loss, ModelGraph, ModelNode, TrainPhase


class Scale(torch.nn.Module):
    def forward(self, x):
        return x * outside.factor() if torch.is_grad_enabled() else x


torch.manual_seed(0)
x = torch.randn(48, 4).numpy()
parts = Dataset(x=x, y=x.sum(1, keepdims=True)).split(train=2 / 3, test=1 / 3, seed=0)
layers = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Dropout(0.1), torch.nn.Linear(8, 1), Scale())
graph = ModelGraph(
    [ModelNode("sum", layers, inputs="x")],
    optimizer=lambda parameters: torch.optim.AdamW(parameters, lr=1e-2),
)
loss = Loss("mse", torch.nn.functional.mse_loss, output="sum", target="y")
more = {"data": parts["train"], "losses": [loss], "batch_size": 8, "checkpointing": Checkpointing()}
experiment = Experiment("sums", graph, directory="runs/sums")
experiment.add(TrainPhase("first", n_epochs=1, **more), TrainPhase("second", n_epochs=4, **more))
experiment.add(EvalPhase("test", data=parts["test"], losses=[loss]))
experiment.run(resume=True)
