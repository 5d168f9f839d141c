"""A ModularML experiment: two training phases and an evaluation, two nodes, dropout, shuffling, early stopping."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import torch
import torch._dynamo  # which the first optimizer imports, for seconds

warnings.simplefilter("ignore")
import modularml as mml  # noqa: E402
from modularml.callbacks import Evaluation  # noqa: E402
from modularml.samplers import SimpleSampler  # noqa: E402

warnings.resetwarnings()
from holdfast.rng import seed_everything  # noqa: E402

N_SAMPLES, N_EPOCHS = 40, 3


class Encoder(torch.nn.Module):
    """A small network; ModularML wants each argument of its constructor as an attribute."""

    def __init__(self, n_in: int, n_out: int) -> None:
        super().__init__()
        self.n_in, self.n_out = n_in, n_out
        self.layers = torch.nn.Sequential(torch.nn.Linear(n_in, n_out), torch.nn.Dropout(0.3))

    def forward(self, x):
        return self.layers(x.flatten(1))


def experiment(
    beat: Callable[[], None] = lambda: None,
    *,
    node_ids: Any = (None, None),
    width: int = 8,
    lr: float = 1e-2,
    **options: Any,
) -> Any:
    """Everything anew, from fixed seeds, with node ids that no two processes share unless they are given."""
    mml.ExperimentContext._set_active(mml.ExperimentContext())
    seed_everything(0)
    made = mml.Experiment.from_active_context(label="small", **options)
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(N_SAMPLES, 6, generator=generator)
    data = mml.FeatureSet.from_dict(
        label="data",
        data={"x": list(x.numpy()), "y": list(x.sum(1, keepdim=True).numpy())},
        feature_keys="x",
        target_keys="y",
    )
    data.split_random(ratios={"train": 0.8, "val": 0.2}, seed=1)
    model = Encoder(6, width)
    numbers = data.reference(features="x", targets="y")
    encoder = mml.ModelNode("encoder", model, upstream_ref=numbers, node_id=node_ids[0])
    head = mml.ModelNode("head", torch.nn.Linear(width, 1), upstream_ref=encoder, node_id=node_ids[1])
    graph = mml.ModelGraph(
        [encoder, head], optimizer=mml.Optimizer("adam", opt_kwargs={"lr": lr}, backend="torch")
    )
    graph.build()

    def hook(*_: Any) -> None:
        if torch.is_grad_enabled():
            beat()

    model.register_forward_hook(hook)
    return made


def loss() -> Any:
    return mml.AppliedLoss(
        loss=mml.Loss("mse", backend="torch"), on="head", inputs=["outputs", "targets"], label="loss"
    )


def train_phase(
    label: str,
    policy: Any,
    *,
    n_epochs: int = N_EPOCHS,
    callbacks: Any = (),
    seed: int | None = 2,
    **options: Any,
) -> Any:
    return mml.TrainPhase.from_split(
        label,
        split="train",
        sampler=SimpleSampler(batch_size=4, shuffle=True, seed=seed),
        losses=[loss()],
        n_epochs=n_epochs,
        checkpointing=policy,
        callbacks=list(callbacks),
        **options,
    )


def stopping(patience: int = 2, *, restore_best: bool = True) -> list[Any]:
    """Validation after each epoch, and early stopping by it."""
    validation = mml.EvalPhase.from_split("validation", split="val", losses=[loss()])
    return [
        Evaluation(eval_phase=validation, metrics=[mml.EvalLossMetric(loss=loss())]),
        mml.EarlyStopping(patience=patience, restore_best=restore_best),
    ]


def planned(policy: Any, beat: Callable[[], None] = lambda: None, **options: Any) -> Any:
    made = experiment(beat, **options)
    made.execution_plan.add_items(
        [
            train_phase("pretrain", policy),
            train_phase("train", policy, callbacks=stopping()),
            mml.EvalPhase.from_split("test", split="val", losses=[loss()]),
        ]
    )
    return made


QUIET = {
    "show_sampler_progress": False,
    "show_training_progress": False,
    "persist_progress": False,
    "persist_epoch_progress": False,
}


def run(made: Any) -> Any:
    return made.run(**QUIET)


def run_phase(made: Any, phase: Any) -> Any:
    return made.run_phase(phase, **QUIET)
