"""Trainings whose weights are written between the restore and the first step; run as `python spoiling.py NAME DIRECTORY`.

Each is cut in its fifth batch and resumed in the same process, once undisturbed and once spoiled; what the reports say is
printed as JSON.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import holdfast
from holdfast import Checkpointing, Run, Write
from tests.support.integrations.acceptance import Ended
from tests.support.integrations.crashing import Crash, beats

Beat = Callable[[], None]


def policy() -> Checkpointing:
    return Checkpointing(mode="disk", save_on="batch_end", write=Write(durability="process"))


def write(model: Any) -> None:
    """As an initialisation does that comes too late."""
    import torch

    with torch.no_grad():
        next(iter(model.parameters())).add_(1)


def own_loop(directory: Path, beat: Beat, spoils: bool) -> Ended:
    import torch

    model = torch.nn.Linear(2, 1)
    with Run(directory, {"model": model}, checkpointing=policy()) as run:
        if spoils:
            write(model)
        for _ in run.steps(8):
            beat()
            write(model)
    return Ended(run.state_digest(), run.last_resume)


def sklearn_loop(directory: Path, beat: Beat, spoils: bool) -> Ended:
    from sklearn.linear_model import SGDRegressor

    model = SGDRegressor(random_state=0)
    with Run(directory, {"model": model}, checkpointing=policy()) as run:
        if spoils:
            model.coef_ += 1
        for step in run.steps(8):
            beat()
            model.partial_fit(np.full((4, 2), step), np.arange(4.0))
    return Ended(run.state_digest(), run.last_resume)


def jax_loop(directory: Path, beat: Beat, spoils: bool) -> Ended:
    import jax.numpy as jnp

    with Run(directory, {"params": {"w": jnp.zeros(3)}}, checkpointing=policy()) as run:
        if spoils:
            run["params"] = {"w": jnp.zeros(3)}
        for _ in run.steps(8):
            beat()
            run["params"] = {"w": run["params"]["w"] + 1}
    return Ended(run.state_digest(), run.last_resume)


def experiment(directory: Path, beat: Beat, spoils: bool) -> Ended:
    from tests.support.small_runs import experiment, train

    class Remembers(holdfast.Callback):
        """Its memory comes back at a resume, and it takes the occasion to write into a model."""

        def on_batch_end(self, context):
            beat()

        def get_state(self):
            return {"seen": 1}

        def set_state(self, state):
            if spoils:
                write(made.graph["body"].model)

    made = experiment(directory, train(checkpointing=policy()), callbacks=[Remembers()])
    made.run(resume=True, progress=False)
    return Ended(made.state_digest(), made.last_resume)


def lightning(directory: Path, beat: Beat, spoils: bool) -> Ended:
    import lightning.pytorch as pl

    from holdfast.integrations.lightning import HoldfastCallback
    from tests.support.integrations.cases.lightning_case import Small, loaders, trainer

    class Writes(pl.Callback):
        def on_train_start(self, trainer, module):
            if spoils:
                write(module)

    callback = HoldfastCallback(directory, checkpointing=policy())
    pl.seed_everything(1, verbose=False)
    trainer(callback, Writes(), max_epochs=2).fit(Small(beat), *loaders())
    return Ended(callback.state_digest(), callback.last_resume)


def transformers(directory: Path, beat: Beat, spoils: bool) -> Ended:
    from transformers import TrainerCallback

    from holdfast.integrations.transformers import hold
    from tests.support.integrations.cases.transformers_case import Beats, trainer

    class Writes(TrainerCallback):
        def on_train_begin(self, args, state, control, **more):
            if spoils:
                write(more["model"])

    made = trainer(directory, Beats(beat), Writes(), num_train_epochs=1)
    held = hold(made, checkpointing=policy())
    made.train(resume_from_checkpoint=True)
    return Ended(held.state_digest(), held.last_resume)


def accelerate(directory: Path, beat: Beat, spoils: bool) -> Ended:
    from holdfast.integrations.accelerate import hold
    from tests.support.integrations.cases.accelerate_case import prepared, step

    accelerator, model, optimizer, scheduler, loader, _ = prepared()
    with hold(accelerator, directory, checkpointing=policy()) as run:
        if spoils:
            write(model)
        for _ in run.epochs(2):
            for batch in run.batches(loader):
                beat()
                step(accelerator, model, optimizer, scheduler, batch)
    return Ended(run.state_digest(), run.last_resume)


def keras(directory: Path, beat: Beat, spoils: bool, *, backend: str = "torch") -> Ended:
    os.environ["KERAS_BACKEND"] = backend
    from holdfast.integrations.keras import HoldfastCallback
    from tests.support.integrations.cases.keras_fit import LambdaCallback, compiled, fit

    model = compiled()
    callback = HoldfastCallback(directory, checkpointing=policy())

    def begin(logs=None) -> None:
        if spoils:
            variable = model.trainable_variables[0]
            variable.assign(variable + 1)

    writes = LambdaCallback(on_train_begin=begin, on_train_batch_begin=lambda batch, logs=None: beat())
    fit(model, [callback, writes], epochs=2)
    return Ended(callback.state_digest(), callback.last_resume)


def modularml(directory: Path, beat: Beat, spoils: bool) -> Ended:
    from holdfast.integrations import modularml
    from tests.support.integrations import modularml_experiment as small

    modularml.enable(directory)
    made = small.experiment(beat)
    small.run_phase(made, small.train_phase("pretrain", policy(), n_epochs=1))
    if spoils:  # what comes next is resumed in its middle
        for node in made.model_graph.nodes.values():
            write(node.model)
    small.run_phase(made, small.train_phase("train", policy(), n_epochs=1))
    ended = Ended(modularml.state_digest(made), modularml.last_resume(made))
    modularml.disable()
    return ended


def xgboost(directory: Path, beat: Beat, spoils: bool) -> Ended:
    import xgboost

    from holdfast.integrations.xgboost import train

    class Writes(xgboost.callback.TrainingCallback):
        def before_training(self, model):
            if spoils:
                model.set_attr(note="written")
            return model

        def before_iteration(self, model, epoch, evals_log):
            beat()
            return False

    x = np.random.default_rng(0).normal(size=(60, 5))
    done = train(
        {"max_depth": 2, "nthread": 1},
        *(xgboost.DMatrix(x, x.sum(1)), directory),
        num_boost_round=10,
        checkpointing=policy(),
        callbacks=[Writes()],
    )
    return Ended(done.state_digest(), done.last_resume)


def lightgbm(directory: Path, beat: Beat, spoils: bool) -> Ended:
    import lightgbm

    from holdfast.integrations.lightgbm import train

    def writes(env: Any) -> None:
        beat()
        if spoils and env.iteration == env.begin_iteration and env.model.num_trees():
            env.model.set_leaf_output(0, 0, 1.0)

    writes.before_iteration = True  # type: ignore[attr-defined]
    x = np.random.default_rng(0).normal(size=(60, 5))
    done = train(
        {"num_leaves": 4, "verbose": -1, "num_threads": 1, "deterministic": True, "force_col_wise": True},
        *(lightgbm.Dataset(x, x.sum(1), free_raw_data=False), directory),
        num_boost_round=10,
        checkpointing=policy(),
        callbacks=[writes],
    )
    return Ended(done.state_digest(), done.last_resume)


def stable_baselines3(directory: Path, beat: Beat, spoils: bool) -> Ended:
    from stable_baselines3 import PPO
    from stable_baselines3.common.callbacks import BaseCallback

    from holdfast.integrations.stable_baselines3 import HoldfastCallback
    from tests.support.integrations.cases.stable_baselines3_case import Beats, environment

    class Writes(BaseCallback):
        def _on_training_start(self) -> None:
            if spoils:
                write(self.model.policy)

        def _on_step(self) -> bool:
            return True

    sizes = {"n_steps": 8, "batch_size": 8, "n_epochs": 1, "policy_kwargs": {"net_arch": [4]}}
    model = PPO("MlpPolicy", environment(), seed=3, device="cpu", **sizes)
    held = HoldfastCallback(directory, checkpointing=policy())
    model.learn(8 * 16, callback=[held, Writes(), Beats(beat)], log_interval=None)
    return Ended(held.state_digest(), held.last_resume)


def keras_jax(directory: Path, beat: Beat, spoils: bool) -> Ended:
    return keras(directory, beat, spoils, backend="jax")


TRAININGS = {
    each.__name__: each
    for each in (
        own_loop,
        sklearn_loop,
        jax_loop,
        experiment,
        lightning,
        transformers,
        accelerate,
        keras,
        keras_jax,
        modularml,
        xgboost,
        lightgbm,
        stable_baselines3,
    )
}
MENDED = {"lightning", "keras", "keras_jax", "modularml"}
"""Those that put everything back once the framework is where it was: what was written before has no effect."""
CUT_AT = {"modularml": 12}


def main(name: str, directory: Path) -> None:
    import torch

    torch.set_num_threads(1)
    train = TRAININGS[name]
    try:
        train(directory / "cut", beats(CUT_AT.get(name, 5)), False)
    except Crash:
        answer = {}
        for spoils in (False, True):
            again = directory / str(spoils)
            shutil.copytree(directory / "cut", again)
            ended = train(again, beats(None), spoils)
            report = ended.resumed
            assert report is not None
            saved = holdfast.scan(again)[-1].record
            assert saved
            answer["spoiled" if spoils else "undisturbed"] = {
                "verdict": report.verdict,
                "saved": saved.details["resume"]["verdict"],
                "digest": ended.digest,
            }
        print(json.dumps(answer))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
