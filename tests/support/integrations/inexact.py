"""Trainings that cannot resume exactly, one for each integration; run as `python inexact.py NAME DIRECTORY`.

Each is cut in its fifth batch and resumed in the same process; what was logged of the resume, and what the report says,
is printed as JSON, and what the report of another resume says.
"""

from __future__ import annotations

import importlib
import json
import logging
import os
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np

import holdfast
from holdfast import Checkpointing, Run, Write, fingerprint
from holdfast.runtime import ResumeReport
from tests.support.integrations.crashing import Crash, beats

Beat = Callable[[], None]


def policy() -> Checkpointing:
    return Checkpointing(mode="disk", save_on="batch_end", write=Write(durability="process"))


def lazy_loader():
    """A loader whose `__iter__` is a generator function, so that its order is drawn late."""
    import torch

    class Lazy(torch.utils.data.DataLoader):
        def __iter__(self):
            yield from super().__iter__()

    return Lazy(torch.utils.data.TensorDataset(torch.arange(64.0).reshape(32, 2)), batch_size=4)


def own_loop(directory: Path, beat: Beat, is_second: bool) -> ResumeReport | None:
    weight = np.zeros(1)
    with Run(directory, {"weight": weight}, checkpointing=policy()) as run:
        run.ignore("lines")
        for _ in run.epochs(2):
            for (x,) in run.batches(lazy_loader()):
                beat()
                weight += x.sum().item()
    return run.last_resume


def sklearn_loop(directory: Path, beat: Beat, is_second: bool) -> ResumeReport | None:
    from sklearn.linear_model import SGDRegressor

    model = SGDRegressor(random_state=0)
    with Run(directory, {"model": model}, checkpointing=policy()) as run:
        run.ignore("lines")
        for _ in run.epochs(2):
            for (x,) in run.batches(lazy_loader()):
                beat()
                model.partial_fit(x.numpy(), x.numpy().sum(1))
    return run.last_resume


def experiment(directory: Path, beat: Beat, is_second: bool) -> ResumeReport | None:
    import torch

    from tests.support.small_runs import experiment, rows, train

    class Lazy(torch.utils.data.DataLoader):
        def __iter__(self):
            yield from super().__iter__()

    class Beats(holdfast.Callback):
        def on_batch_end(self, context):
            beat()

    phase = train(data=Lazy(rows(), batch_size=8), batch_size=None, checkpointing=policy())
    made = experiment(directory, phase, callbacks=[Beats()])
    made.run(resume=True, progress=False)
    return made.last_resume


def lightning(directory: Path, beat: Beat, is_second: bool) -> ResumeReport | None:
    import lightning.pytorch as pl
    import torch

    from holdfast.integrations.lightning import HoldfastCallback
    from tests.support.integrations.cases.lightning_case import trainer

    class Small(pl.LightningModule):
        def __init__(self):
            super().__init__()
            self.layer = torch.nn.Linear(2, 1)

        def training_step(self, batch, index):
            beat()
            loss = self.layer(batch[0]).square().mean()
            self.log("loss", loss, on_step=True, on_epoch=True)
            return loss

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), 1e-6)

    callback = HoldfastCallback(directory, checkpointing=policy())
    trainer(callback, max_epochs=2).fit(Small(), lazy_loader())
    return callback.last_resume


def transformers(directory: Path, beat: Beat, is_second: bool) -> ResumeReport | None:
    from holdfast.integrations.transformers import hold
    from tests.support.integrations.cases.transformers_case import Beats, trainer

    class Rows:
        def __init__(self, rows):
            self.rows = rows
            if is_second:  # it cannot be as it would have been
                self.noise = np.random.default_rng(1)

        def __len__(self):
            return len(self.rows)

        def __getitem__(self, index):
            return self.rows[index]

    made = trainer(directory, Beats(beat), eval_strategy="no", metric_for_best_model=None)
    made.callback_handler.callbacks = [
        each for each in made.callback_handler.callbacks if "EarlyStopping" not in type(each).__name__
    ]
    made.train_dataset = Rows(made.train_dataset)
    held = hold(made, checkpointing=policy())
    made.train(resume_from_checkpoint=True)
    return held.last_resume


def accelerate(directory: Path, beat: Beat, is_second: bool) -> ResumeReport | None:
    from holdfast.integrations.accelerate import hold
    from tests.support.integrations.cases.accelerate_case import prepared, step

    accelerator, model, optimizer, scheduler, loader, _ = prepared()
    if is_second:
        loader.dataset.noise = np.random.default_rng(1)
    held = hold(accelerator)
    with Run(directory, held.parts, checkpointing=policy()) as run:
        run.ignore("lines")
        for _ in run.epochs(2):
            for batch in run.batches(loader):
                beat()
                step(accelerator, model, optimizer, scheduler, batch)
    return run.last_resume


def keras(directory: Path, beat: Beat, is_second: bool) -> ResumeReport | None:
    os.environ["KERAS_BACKEND"] = "torch"
    import torch

    from holdfast.integrations.keras import HoldfastCallback
    from tests.support.integrations.cases.keras_fit import LambdaCallback, compiled

    class Rows(torch.utils.data.Dataset):
        def __init__(self):
            self.noise = np.random.default_rng(1)

        def __len__(self):
            return 32

        def __getitem__(self, index):
            return np.full(6, index + self.noise.random(), "float32"), np.zeros(1, "float32")

    callback = HoldfastCallback(directory, checkpointing=policy())
    on_batch = LambdaCallback(on_train_batch_begin=lambda batch, logs=None: beat())
    data = torch.utils.data.DataLoader(Rows(), batch_size=4)
    compiled().fit(data, epochs=2, verbose=0, callbacks=[callback, on_batch])
    return callback.last_resume


def xgboost(directory: Path, beat: Beat, is_second: bool) -> ResumeReport | None:
    import xgboost

    from holdfast.integrations.xgboost import train
    from tests.support.integrations.cases.xgboost_case import Beats

    x = np.random.default_rng(0).normal(size=(60, 3))
    parameters = {"subsample": 0.5, "nthread": 1}
    data = xgboost.DMatrix(x, x[:, 0])
    return train(
        parameters, data, directory, num_boost_round=8, checkpointing=policy(), callbacks=[Beats(beat)]
    ).last_resume


def lightgbm(directory: Path, beat: Beat, is_second: bool) -> ResumeReport | None:
    import lightgbm

    from holdfast.integrations.lightgbm import train

    x = np.random.default_rng(0).normal(size=(60, 3))
    parameters = {"bagging_fraction": 0.5, "bagging_freq": 1, "num_threads": 1, "verbose": -1}
    data = lightgbm.Dataset(x, x[:, 0], free_raw_data=False)
    beating = [lambda env: beat()]
    return train(
        parameters, data, directory, num_boost_round=8, checkpointing=policy(), callbacks=beating
    ).last_resume


def modularml(directory: Path, beat: Beat, is_second: bool) -> ResumeReport | None:
    from holdfast.integrations import modularml
    from tests.support.integrations import modularml_experiment

    modularml.enable(directory)
    made = modularml_experiment.planned(policy(), beat)
    if is_second:
        with_older_numpy()
    modularml_experiment.run(made)
    return modularml.last_resume(made)


def grid_search(directory: Path, beat: Beat, is_second: bool) -> ResumeReport | None:
    from sklearn.linear_model import Ridge

    from holdfast.integrations.sklearn import GridSearch

    if is_second:
        with_older_numpy()

    def score(estimator, x, y):
        beat()
        return estimator.score(x, y)

    x = np.random.default_rng(0).normal(size=(40, 3))
    search = GridSearch(Ridge(), {"alpha": [0.1, 1, 10]}, directory, cv=3, scoring=score)
    return search.fit(x, x.sum(1)).last_resume


def with_older_numpy() -> None:
    """From here on the versions are others than they were."""
    now = fingerprint.versions()
    fingerprint.versions = lambda: now | {"numpy": "1.0"}


TRAININGS = {
    each.__name__: each
    for each in (
        own_loop,
        experiment,
        lightning,
        transformers,
        accelerate,
        keras,
        xgboost,
        lightgbm,
        modularml,
        sklearn_loop,
        grid_search,
    )
}


class _Lines(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.said: list[tuple[str, str]] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.said.append((record.levelname, record.getMessage()))


def main(name: str, directory: Path) -> None:
    importlib.import_module("torch")
    lines = _Lines()
    logger = logging.getLogger("holdfast")
    logger.addHandler(lines)
    logger.setLevel(logging.INFO)
    try:
        TRAININGS[name](directory, beats(5), False)
    except Crash:
        lines.said.clear()
        report = TRAININGS[name](directory, beats(None), True)
        assert report is not None
        told = [line for line in lines.said if "resume" in line[1] and not line[1].startswith("forgot ")]
        saved = holdfast.scan(directory)[-1].record
        assert saved
        answer = {
            "said": told,
            "path": report.path,
            "verdict": report.verdict,
            "saved": saved.details["resume"],
        }
        again = TRAININGS[name](directory, beats(None), True)
        answer["again"] = None if again is None else again.verdict
        print(json.dumps(answer | {"differences": report.differences}))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
