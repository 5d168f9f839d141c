"""Two phases on scikit-learn's digits: pretrain an encoder, freeze it, train a classifier on top.

`python -m holdfast.demo.digits DIR` runs it in `DIR`, from the newest complete checkpoint if there is one,
and prints the result as one line of JSON.
"""

from __future__ import annotations

import json
import sys
import time

import torch
from sklearn.datasets import load_digits

from .. import rng
from ..data import Dataset
from ..experiment import EarlyStopping, EvalPhase, Experiment, Loss, Metric, ModelGraph, ModelNode, TrainPhase
from ..policy import Checkpointing
from .killing import STARTED


def build(directory: str | None) -> Experiment:
    """The experiment, saved in `directory`; None: nothing is saved."""
    rng.seed_everything(7)
    images, digits = load_digits(return_X_y=True)
    data = Dataset({"pixels": (images / 16).astype("float32"), "digit": digits})
    parts = data.split(train=0.8, test=0.2, seed=1)

    graph = ModelGraph(
        [
            ModelNode("encoder", _layers(64, 512, 32, dropout=0.1), inputs="pixels"),
            ModelNode("decoder", _layers(32, 512, 64), inputs="encoder"),
            ModelNode("classifier", torch.nn.Linear(32, 10), inputs="encoder"),
        ],
        optimizer=lambda parameters: torch.optim.AdamW(parameters, lr=2e-3),
        scheduler=lambda optimizer: torch.optim.lr_scheduler.StepLR(optimizer, 5, gamma=0.95),
    )
    rebuild = Loss("rebuild", torch.nn.functional.mse_loss, output="decoder", target="pixels")
    classify = Loss("classify", torch.nn.functional.cross_entropy, output="classifier", target="digit")

    experiment = Experiment(
        "digits", graph, directory=directory, checkpointing=_policy(directory, ["phase_end"])
    )
    experiment.add(
        TrainPhase(
            "pretrain",
            data=parts["train"],
            losses=[rebuild],
            n_epochs=30,
            batch_size=16,
            accumulate=2,
            checkpointing=_policy(directory, ["epoch_end"]),
        ),
        TrainPhase(
            "head",
            data=parts["train"],
            losses=[classify],
            n_epochs=50,
            batch_size=16,
            freeze=["encoder", "decoder"],
            validation=parts["test"],
            callbacks=[EarlyStopping("val_classify", patience=5)],
            checkpointing=_policy(directory, ["batch_end", "epoch_end"], every_n=60),
        ),
        EvalPhase(
            "test",
            data=parts["test"],
            metrics=[Metric("accuracy", _accuracy, output="classifier", target="digit")],
        ),
    )
    return experiment


def _layers(inputs: int, hidden: int, outputs: int, dropout: float = 0.0) -> torch.nn.Module:
    return torch.nn.Sequential(
        torch.nn.Linear(inputs, hidden),
        torch.nn.ReLU(),
        torch.nn.Dropout(dropout),
        torch.nn.Linear(hidden, outputs),
    )


def _policy(directory: str | None, save_on: list[str], every_n: int = 1) -> Checkpointing | None:
    return None if directory is None else Checkpointing(save_on=save_on, every_n=every_n)


def _accuracy(digits, scores) -> float:
    return float((scores.argmax(axis=1) == digits).mean())


def main(directory: str) -> None:
    torch.set_num_threads(1)
    experiment = build(directory)
    print(STARTED, flush=True)
    began_s = time.perf_counter()
    results = experiment.run(resume=True, progress=False)
    report = experiment.last_resume
    outcome = {
        "digest": experiment.state_digest(),
        "accuracy": results["test"].last["accuracy"],
        "seconds": time.perf_counter() - began_s,
        "resumed_from": report.record.name if report else None,
        "verdict": report.verdict if report else None,
    }
    print(json.dumps(outcome))


if __name__ == "__main__":
    main(sys.argv[1])
