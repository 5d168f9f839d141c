"""stable-baselines3: a factor by which a callback multiplies what each rollout has found."""

import sys
import warnings

import gymnasium as gym
import outside
from stable_baselines3 import PPO
from stable_baselines3.common.callbacks import BaseCallback

from holdfast.integrations.stable_baselines3 import HoldfastCallback

warnings.filterwarnings("ignore", module="gymnasium|stable_baselines3")


class Scale(BaseCallback):
    def __init__(self):
        super().__init__()
        self.places = iter(range(1, 1_000_000))

    def _on_rollout_end(self):
        held = 1 / next(self.places) if sys.argv[1] == "held" else 1.0
        buffer = self.model.rollout_buffer
        buffer.advantages *= outside.factor() * held

    def _on_step(self):
        return True


env = gym.make("CartPole-v1")
sizes = {"n_steps": 16, "batch_size": 8, "n_epochs": 1, "policy_kwargs": {"net_arch": [8]}}
model = PPO("MlpPolicy", env, seed=0, device="cpu", **sizes)
model.learn(16 * 20, callback=[HoldfastCallback("runs/cart"), Scale()])
