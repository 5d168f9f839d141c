"""Short trainings of stable-baselines3, each in a newborn process that can kill itself at any timestep."""

from __future__ import annotations

import logging
import os
import signal
import sys
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
import torch
from stable_baselines3 import A2C, DQN, PPO, SAC, TD3
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback, CallbackList, CheckpointCallback
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.noise import OrnsteinUhlenbeckActionNoise
from stable_baselines3.common.vec_env import SubprocVecEnv, VecFrameStack, VecNormalize

import holdfast
from holdfast import Checkpointing, state
from holdfast.integrations.stable_baselines3 import HoldfastCallback
from tests.support.integrations.cases.stable_baselines3_case import Walk
from tests.support.newborn import serve

warnings.filterwarnings("ignore", module="gymnasium|stable_baselines3")

Job = Mapping[str, Any]


class Push(Walk):
    """The same with a force for an action."""

    def __init__(self) -> None:
        super().__init__()
        self.action_space = gym.spaces.Box(-1, 1, (1,), np.float32)

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        return super().step(float(action[0]) > 0)


class Emulator(Walk):
    """Keeps state where no attribute shows it: what an iterator has given."""

    def __init__(self) -> None:
        super().__init__()
        self.tape = iter(range(10**6))


def small(**more: Any) -> dict[str, Any]:
    return {"policy_kwargs": {"net_arch": [8]}, "seed": 3, "device": "cpu", **more}


def off_policy(**more: Any) -> dict[str, Any]:
    return small(learning_starts=20, buffer_size=60, batch_size=8, **more)  # so small that it is overwritten


def ppo() -> BaseAlgorithm:
    env = VecNormalize(VecFrameStack(make_vec_env(Walk, n_envs=2, seed=1), 2))
    return PPO("MlpPolicy", env, n_steps=8, batch_size=8, n_epochs=2, **small())


def ppo_on_cartpole() -> BaseAlgorithm:
    return PPO("MlpPolicy", "CartPole-v1", n_steps=16, batch_size=8, n_epochs=2, **small())


def ppo_elsewhere() -> BaseAlgorithm:
    env = make_vec_env(
        Walk, n_envs=2, seed=1, vec_env_cls=SubprocVecEnv, vec_env_kwargs={"start_method": "fork"}
    )
    return PPO("MlpPolicy", VecNormalize(env), n_steps=8, batch_size=8, n_epochs=2, **small())


def ppo_emulated() -> BaseAlgorithm:
    return PPO("MlpPolicy", make_vec_env(Emulator, seed=1), n_steps=16, batch_size=8, n_epochs=2, **small())


def ppo_with_a_schedule() -> BaseAlgorithm:
    def rate(left: float) -> float:
        return 1e-3 * left

    return PPO("MlpPolicy", Walk(), learning_rate=rate, n_steps=16, batch_size=8, n_epochs=2, **small())


class Memory(NamedTuple):
    hidden: torch.Tensor
    cells: tuple[torch.Tensor, ...]


class Remembering(PPO):
    """Weighs each rollout by a memory and by a network of its own, neither of which stable-baselines3 would save."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._memory = Memory(torch.zeros(2), (torch.zeros(1),))
        self._scale = torch.nn.Linear(1, 1)

    def collect_rollouts(self, *args: Any, **options: Any) -> bool:
        done = super().collect_rollouts(*args, **options)
        mean = float(self.rollout_buffer.rewards.mean())
        self._memory = Memory(self._memory.hidden * 0.9 + mean, (self._memory.cells[0] + 1,))
        with torch.no_grad():
            self._scale.bias.add_(0.01 * mean)
        weight = 1 + 0.01 * float(self._memory.hidden[0]) + float(self._scale.bias.detach())
        self.rollout_buffer.advantages *= weight / float(self._memory.cells[0])
        return done


class Unrolling(Remembering):
    """Keeps an iterator as well."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._tape = iter(range(10**6))


def ppo_with_a_memory() -> BaseAlgorithm:
    env = make_vec_env(Walk, n_envs=2, seed=1)
    return Remembering("MlpPolicy", env, n_steps=8, batch_size=8, n_epochs=2, **small())


def ppo_with_an_iterator() -> BaseAlgorithm:
    env = make_vec_env(Walk, n_envs=2, seed=1)
    return Unrolling("MlpPolicy", env, n_steps=8, batch_size=8, n_epochs=2, **small())


def dqn() -> BaseAlgorithm:
    return DQN("MlpPolicy", Walk(), target_update_interval=30, **off_policy())


def dqn_on_cartpole() -> BaseAlgorithm:
    return DQN(
        "MlpPolicy", "CartPole-v1", target_update_interval=30, train_freq=(1, "episode"), **off_policy()
    )


def a2c() -> BaseAlgorithm:
    return A2C("MlpPolicy", make_vec_env(Push, n_envs=2, seed=1), n_steps=8, use_sde=True, **small())


def sac() -> BaseAlgorithm:
    return SAC("MlpPolicy", Push(), use_sde=True, **off_policy())


def td3() -> BaseAlgorithm:
    noise = OrnsteinUhlenbeckActionNoise(np.zeros(1), 0.1 * np.ones(1))
    return TD3(
        "MlpPolicy", VecNormalize(make_vec_env(Push, n_envs=2, seed=1)), action_noise=noise, **off_policy()
    )


MODELS = {
    each.__name__: each
    for each in (
        *(ppo, ppo_on_cartpole, ppo_elsewhere, ppo_emulated, ppo_with_a_schedule),
        *(ppo_with_a_memory, ppo_with_an_iterator),
        *(dqn, dqn_on_cartpole, a2c, sac, td3),
    )
}


class Counting(BaseCallback):
    """What the script adds: it counts what this process trains, and ends it where it is told to."""

    def __init__(self, kill_at: int | None, stop_at: int | None) -> None:
        super().__init__()
        self.kill_at, self.stop_at = kill_at, stop_at
        self.actions = np.zeros(3)

    def _on_step(self) -> bool:
        steps[0] += self.training_env.num_envs
        self.actions = self.actions + self.locals["rewards"].sum()
        if self.kill_at is not None and self.num_timesteps >= self.kill_at:
            os.killpg(os.getpid(), signal.SIGKILL)  # with the processes of its environments
        return self.stop_at is None or self.num_timesteps < self.stop_at


steps = [0]


class Lines(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


def do(job: Job, beat: Callable[[], None]) -> dict[str, Any]:
    torch.set_num_threads(1)
    said = Lines()
    logging.getLogger("holdfast").addHandler(said)
    model, directory = MODELS[job["name"]](), Path(job["directory"])
    for name, value in job.get("set", {}).items():
        setattr(model, name, value)
    held = HoldfastCallback(
        directory,
        checkpointing=Checkpointing(save_on="batch_end", every_n=job.get("every_n", 2), max_to_keep=2),
        **job.get("given", {}),
    )
    held.ignore("steps")
    counting = Counting(job.get("kill_at"), job.get("stop_at"))
    zips = CheckpointCallback(17, str(directory / "zips"), verbose=0)
    try:
        model.learn(job["total"], callback=CallbackList([zips, counting, held]))
        if job.get("again"):
            model.learn(job["total"], callback=held)
    except Exception as err:
        return {"raised": f"{type(err).__name__}: {err}", "timesteps": model.num_timesteps}
    report = held.last_resume
    return {
        "digest": held.state_digest(),
        "weights": state.digest(holdfast.capture({"policy": model.policy})),
        "counted": [*counting.actions.tolist(), zips.n_calls],
        "trained": steps[0],
        "timesteps": model.num_timesteps,
        "verdict": report and report.verdict,
        "differences": list(report.differences) if report else [],
        "said": said.lines,
        "zips": sorted(each.name for each in (directory / "zips").glob("*.zip")),
    }


if __name__ == "__main__":
    sys.modules["tests.support.integrations.stable_baselines3_training"] = sys.modules["__main__"]
    PPO("MlpPolicy", Walk(), **small()).policy.optimizer.step()  # imports what the first update does
    holdfast.capture({})
    serve(do)
