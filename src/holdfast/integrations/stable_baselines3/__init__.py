"""stable-baselines3: a callback that saves by a policy, and makes `learn` resume bit for bit.

    model = PPO("MlpPolicy", env, seed=0)
    model.learn(1_000_000, callback=HoldfastCallback("runs/ppo"))

A turn of the algorithm, a rollout and the updates that follow it, is a "batch"; checkpoints are taken between two of them.
"""

from ..._shown import shown_in as _shown_in
from ._callback import HoldfastCallback

__all__ = ["HoldfastCallback"]

_shown_in(__name__, *map(globals().__getitem__, __all__))
