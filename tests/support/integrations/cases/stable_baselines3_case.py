"""stable-baselines3: PPO with a network that drops out, two environments of its own, normalised, and an evaluation in between."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import torch
import torch._dynamo  # which the first optimizer imports, for seconds
from stable_baselines3 import PPO
from stable_baselines3.common.callbacks import BaseCallback, EvalCallback
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from stable_baselines3.common.vec_env import VecNormalize

from holdfast import Checkpointing
from holdfast.integrations.stable_baselines3 import HoldfastCallback
from tests.support.integrations.acceptance import Ended

NEEDS = ("stable_baselines3", "gymnasium")

warnings.filterwarnings("ignore", module="gymnasium|stable_baselines3")


class Walk(gym.Env[np.ndarray, Any]):
    """A walk to the right with a wind that remembers; it ends where it began, or after some steps."""

    def __init__(self) -> None:
        self.observation_space = gym.spaces.Box(-10, 10, (2,), np.float32)
        self.action_space: Any = gym.spaces.Discrete(2)
        self.wind, self.place, self.steps, self.visited = 0.0, 0.0, 0, [0.0]

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        self.place, self.steps, self.visited = float(self.np_random.normal()), 0, []
        return self._look(), {}

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        self.wind = 0.9 * self.wind + 0.1 * float(self.np_random.normal())
        self.place += (0.3 if action else -0.3) + self.wind
        self.steps += 1
        self.visited.append(self.place)
        return self._look(), self.place / 10, abs(self.place) > 5, self.steps == 20, {}

    def _look(self) -> np.ndarray:
        return np.array([self.place, self.wind], np.float32)


class Dropping(BaseFeaturesExtractor):
    def __init__(self, space: Any) -> None:
        super().__init__(space, features_dim=4)
        self.layers = torch.nn.Sequential(torch.nn.Linear(2, 4), torch.nn.Dropout(0.2))

    def forward(self, observations: torch.Tensor) -> torch.Tensor:
        return self.layers(observations)


class Beats(BaseCallback):
    """Called once in each turn."""

    def __init__(self, beat: Callable[[], None]) -> None:
        super().__init__()
        self.beat = beat

    def _on_step(self) -> bool:
        return True

    def _on_rollout_start(self) -> None:
        self.beat()

    def _on_rollout_end(self) -> None:
        self.logger.record("loss", -float(np.mean(self.model.rollout_buffer.rewards)))


def environment() -> VecNormalize:
    return VecNormalize(make_vec_env(Walk, n_envs=2, seed=1))


def train(directory: Path, policy: Checkpointing, beat: Callable[[], None]) -> Ended:
    kwargs = {"net_arch": [8], "features_extractor_class": Dropping}
    model = PPO(
        "MlpPolicy",
        environment(),
        n_steps=8,
        batch_size=8,
        n_epochs=2,
        policy_kwargs=kwargs,
        seed=3,
        device="cpu",
    )
    evaluation = EvalCallback(environment(), n_eval_episodes=1, eval_freq=50, verbose=0)
    held = HoldfastCallback(directory, checkpointing=policy)
    model.learn(24 * 16, callback=[held, evaluation, Beats(beat)], log_interval=None)
    return Ended(held.state_digest(), held.last_resume)
