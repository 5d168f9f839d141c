"""A short training in each framework that can be ended early or made longer; each returns how many steps it trained now."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from holdfast import Checkpointing

Training = Callable[[Path, Checkpointing, int, bool], int]
"""Directory, policy, how many epochs (or rounds) in all, whether it is stopped in its second epoch (or third round)."""


def torch_loop(directory: Path, policy: Checkpointing, n: int, stops: bool) -> int:
    import torch

    from holdfast import Run

    torch.manual_seed(0)
    model, trained = torch.nn.Linear(2, 1), 0
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    data = torch.utils.data.TensorDataset(torch.ones(12, 2))
    loader = torch.utils.data.DataLoader(data, batch_size=4)
    with Run(directory, {"model": model, "optimizer": optimizer}, checkpointing=policy) as run:
        run.ignore("trained")  # of this life only
        for epoch in run.epochs(n):
            for (x,) in run.batches(loader):
                optimizer.zero_grad()
                model(x).square().mean().backward()
                optimizer.step()
                trained += 1
            if stops and epoch == 1:
                break
    return trained


def steps(directory: Path, policy: Checkpointing, n: int, stops: bool) -> int:
    import numpy as np

    from holdfast import Run

    weight, trained = np.zeros(2), 0
    with Run(directory, {"weight": weight}, checkpointing=policy) as run:
        run.ignore("trained")  # of this life only
        for step in run.steps(n):
            weight += step
            trained += 1
            if stops and step == 2:
                break
    return trained


def accelerated(directory: Path, policy: Checkpointing, n: int, stops: bool) -> int:
    import torch
    from accelerate import Accelerator

    from holdfast.integrations.accelerate import hold

    torch.manual_seed(0)
    accelerator, trained = Accelerator(cpu=True), 0
    model = torch.nn.Linear(2, 1)
    data = torch.utils.data.TensorDataset(torch.ones(12, 2))
    model, optimizer, loader = accelerator.prepare(
        *(model, torch.optim.SGD(model.parameters(), 0.1)),
        torch.utils.data.DataLoader(data, batch_size=4),
    )
    with hold(accelerator, directory, checkpointing=policy) as run:
        run.ignore("trained")  # of this life only
        for epoch in run.epochs(n):
            for (x,) in run.batches(loader):
                optimizer.zero_grad()
                accelerator.backward(model(x).square().mean())
                optimizer.step()
                trained += 1
            if stops and epoch == 1:
                break
    return trained


def keras_fit(directory: Path, policy: Checkpointing, n: int, stops: bool) -> int:
    from keras.callbacks import LambdaCallback

    from holdfast.integrations.keras import HoldfastCallback
    from tests.support.integrations.cases.keras_fit import compiled, fit

    model = compiled()

    def end(epoch: int, logs: object) -> None:
        model.stop_training |= stops and epoch == 1

    callback = HoldfastCallback(directory, checkpointing=policy)
    fit(model, [callback, LambdaCallback(on_epoch_end=end)], epochs=n)
    before = 0 if callback.last_resume is None else callback.last_resume.record.moment.step
    return int(model.optimizer.iterations) - before  # batches that are skipped call the callbacks, too


def lightning_fit(directory: Path, policy: Checkpointing, n: int, stops: bool) -> int:
    import lightning.pytorch as pl

    from holdfast.integrations.lightning import HoldfastCallback
    from tests.support.integrations.cases.lightning_case import Small, loaders, trainer

    trained = 0

    def count() -> None:
        nonlocal trained
        trained += 1

    class Stop(pl.Callback):
        def on_train_epoch_end(self, trainer: pl.Trainer, module: object) -> None:
            trainer.should_stop |= stops and trainer.current_epoch == 1

    pl.seed_everything(1, verbose=False)
    held = HoldfastCallback(directory, checkpointing=policy)
    held.ignore("trained")  # of this life only
    made = trainer(held, Stop(), max_epochs=n)
    made.fit(Small(count), *loaders())
    return trained


def transformers_train(directory: Path, policy: Checkpointing, n: int, stops: bool) -> int:
    from transformers import EarlyStoppingCallback, TrainerCallback

    from holdfast.integrations.transformers import hold
    from tests.support.integrations.cases.transformers_case import Beats, trainer

    trained = 0

    def count() -> None:
        nonlocal trained
        trained += 1

    class Stop(TrainerCallback):
        def on_epoch_end(self, args, state, control, **more):
            control.should_training_stop |= stops and state.epoch >= 2

    made = trainer(directory, Beats(count), Stop(), num_train_epochs=n)
    made.remove_callback(EarlyStoppingCallback)  # whose end depends on the rounding of one version or another
    hold(made, directory, checkpointing=policy).ignore("trained")  # of this life only
    made.train()
    return trained


def xgboost_train(directory: Path, policy: Checkpointing, n: int, stops: bool) -> int:
    import numpy as np
    import xgboost

    from holdfast.integrations.xgboost import train

    trained = 0

    class Stop(xgboost.callback.TrainingCallback):
        def after_iteration(self, model, epoch, evals_log):
            nonlocal trained
            trained += 1
            return stops and model.num_boosted_rounds() == 3

    x = np.random.default_rng(0).normal(size=(40, 3))
    data = xgboost.DMatrix(x, x.sum(1))
    how = {"num_boost_round": n, "checkpointing": policy, "variables": "off"}
    train({"nthread": 1}, data, directory, callbacks=[Stop()], **how)
    return trained


def lightgbm_train(directory: Path, policy: Checkpointing, n: int, stops: bool) -> int:
    import lightgbm
    import numpy as np

    from holdfast.integrations.lightgbm import train

    trained = 0

    def stop(env: object) -> None:
        nonlocal trained
        trained += 1
        if stops and env.iteration == 2:  # type: ignore[attr-defined]
            raise lightgbm.callback.EarlyStopException(2, [("train", "l2", 0.0, False)])

    x = np.random.default_rng(0).normal(size=(90, 3))
    data = lightgbm.Dataset(x, x.sum(1), free_raw_data=False)
    params = {"num_leaves": 4, "verbose": -1, "num_threads": 1, "deterministic": True, "force_col_wise": True}
    how = {"num_boost_round": n, "checkpointing": policy, "variables": "off"}
    train(params, data, directory, callbacks=[stop], **how)
    return trained


def stable_baselines3_learn(directory: Path, policy: Checkpointing, n: int, stops: bool) -> int:
    from stable_baselines3 import PPO
    from stable_baselines3.common.callbacks import BaseCallback

    from holdfast.integrations.stable_baselines3 import HoldfastCallback
    from tests.support.integrations.cases.stable_baselines3_case import environment

    trained = 0

    class Stop(BaseCallback):
        def _on_step(self) -> bool:
            return not (stops and self.num_timesteps > 2 * 16)

        def _on_rollout_end(self) -> None:
            nonlocal trained
            trained += 1

    sizes = {"n_steps": 8, "batch_size": 8, "n_epochs": 1, "policy_kwargs": {"net_arch": [4]}}
    model = PPO("MlpPolicy", environment(), seed=3, device="cpu", **sizes)
    held = HoldfastCallback(directory, checkpointing=policy)
    held.ignore("trained")  # of this life only
    model.learn(n * 16, callback=[held, Stop()], log_interval=None)
    return trained


TRAININGS: dict[str, tuple[Training, tuple[str, ...]]] = {
    "Run, epochs": (torch_loop, ("torch",)),
    "Run, steps": (steps, ()),
    "accelerate": (accelerated, ("accelerate",)),
    "keras": (keras_fit, ("keras",)),
    "lightning": (lightning_fit, ("lightning",)),
    "transformers": (transformers_train, ("transformers",)),
    "xgboost": (xgboost_train, ("xgboost",)),
    "lightgbm": (lightgbm_train, ("lightgbm",)),
    "stable-baselines3": (stable_baselines3_learn, ("stable_baselines3",)),
}
