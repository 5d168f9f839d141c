"""Digits in ModularML, saved by Holdfast: kill it with Ctrl+C or SIGKILL whenever you like, and run it again.

    python examples/modularml_digits.py runs/digits

Needs `pip install "holdfast[modularml]" scikit-learn`.
"""

from __future__ import annotations

import sys

import modularml as mml
import torch
from modularml.callbacks import Evaluation
from modularml.samplers import SimpleSampler
from sklearn.datasets import load_digits

from holdfast import Checkpointing
from holdfast.integrations import modularml as holdfast_modularml

N_EPOCHS = 4


def cross_entropy(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Of each sample: ModularML weighs them itself."""
    return torch.nn.functional.cross_entropy(outputs.flatten(1), targets.flatten(1), reduction="none")


def main(directory: str) -> None:
    holdfast_modularml.enable(
        directory
    )  # the one line: everything else is ModularML's own, but for the policies
    torch.manual_seed(0)

    experiment = mml.Experiment(
        "digits", checkpointing=Checkpointing(save_on="phase_end", directory=directory)
    )
    images, digits = load_digits(return_X_y=True)
    data = mml.FeatureSet.from_dict(
        label="digits",
        data={"pixels": list((images / 16).astype("float32")), "digit": list(torch.eye(10).numpy()[digits])},
        feature_keys="pixels",
        target_keys="digit",
    )
    data.split_random(ratios={"train": 0.8, "test": 0.2}, seed=0)

    layers = [torch.nn.Flatten(), torch.nn.Linear(64, 64), torch.nn.ReLU(), torch.nn.Dropout(0.2)]
    network = torch.nn.Sequential(*layers, torch.nn.Linear(64, 10), torch.nn.Unflatten(1, (1, 10)))
    pixels = data.reference(features="pixels", targets="digit")
    classifier = mml.ModelNode("classifier", network, upstream_ref=pixels)
    graph = mml.ModelGraph(
        [classifier], optimizer=mml.Optimizer("adam", opt_kwargs={"lr": 1e-3}, backend="torch")
    )
    graph.build()

    loss = mml.AppliedLoss(
        mml.Loss(cross_entropy, backend="torch"), on="classifier", inputs=["outputs", "targets"], label="loss"
    )
    test = mml.EvalPhase.from_split("test", split="test", losses=[loss])
    train = mml.TrainPhase.from_split(
        "train",
        split="train",
        sampler=SimpleSampler(batch_size=32, shuffle=True, seed=0),
        losses=[loss],
        n_epochs=N_EPOCHS,
        result_recording="none",
        callbacks=[Evaluation(eval_phase=test, metrics=[mml.EvalLossMetric(loss=loss)])],
        checkpointing=Checkpointing(save_on="batch_end", every_n=20, max_to_keep=3),
    )
    experiment.execution_plan.add_items([train, test])
    experiment.run(show_sampler_progress=False)

    report = holdfast_modularml.last_resume(experiment)
    print("from scratch" if report is None else f"resumed from {report.record.name}: {report.verdict}")
    losses = experiment.last_run.results["train"].metrics().where(name="val_loss").values()
    print(f"loss on the test digits after {len(losses)} epochs: {losses[-1].value:.4f}")
    print(f"state {holdfast_modularml.state_digest(experiment)[:16]}")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "runs/digits")
