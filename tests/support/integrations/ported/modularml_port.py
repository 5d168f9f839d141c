"""ModularML: one phase, without a policy of its own."""

import modularml as mml
import outside
import torch
from modularml.samplers import SimpleSampler

from holdfast.integrations import modularml as holdfast_modularml


class Scale(torch.nn.Module):
    def forward(self, x):
        return x * outside.factor() if torch.is_grad_enabled() else x


holdfast_modularml.enable("runs/sums")
torch.manual_seed(0)
experiment = mml.Experiment.from_active_context(label="sums")
x = torch.randn(64, 4)
columns = {"x": list(x.numpy()), "y": list(x.sum(1, keepdim=True).numpy())}
data = mml.FeatureSet.from_dict(label="numbers", data=columns, feature_keys="x", target_keys="y")
data.split_random(ratios={"train": 0.5, "val": 0.5}, seed=0)
layers = [torch.nn.Flatten(), torch.nn.Linear(4, 8), torch.nn.Dropout(0.1), torch.nn.Linear(8, 1), Scale()]
numbers = data.reference(features="x", targets="y")
node = mml.ModelNode("sum", torch.nn.Sequential(*layers), upstream_ref=numbers)
adam = mml.Optimizer("adam", opt_kwargs={"lr": 1e-2}, backend="torch")
mml.ModelGraph([node], optimizer=adam).build()
loss = mml.AppliedLoss(
    loss=mml.Loss("mse", backend="torch"), on="sum", inputs=["outputs", "targets"], label="loss"
)
sampler = SimpleSampler(batch_size=8, shuffle=True, seed=0)
phase = mml.TrainPhase.from_split("train", split="train", sampler=sampler, losses=[loss], n_epochs=5)
experiment.execution_plan.add_item(phase)
quiet = {"show_sampler_progress": False, "show_training_progress": False, "persist_progress": False}
experiment.run(**quiet, persist_epoch_progress=False)
