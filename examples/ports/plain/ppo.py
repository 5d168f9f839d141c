"""Proximal policy optimization in one file, in the manner of cleanrl.

    python ppo.py REPORT    # the final weights and numbers go to REPORT, as JSON

Eight copies of a task run side by side: hold a drifting point near the origin by pushing it left, right or not.
"""

import hashlib
import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.distributions.categorical import Categorical


@dataclass
class Args:
    seed: int = 1
    learning_rate: float = 2.5e-3
    num_envs: int = 8
    num_steps: int = 16
    num_iterations: int = 40
    gamma: float = 0.99
    gae_lambda: float = 0.95
    num_minibatches: int = 4
    update_epochs: int = 3
    clip_coef: float = 0.2
    ent_coef: float = 0.01
    vf_coef: float = 0.5
    max_grad_norm: float = 0.5

    @property
    def batch_size(self):
        return self.num_envs * self.num_steps


class DriftingPoints:
    """A vector of environments; each is reset by itself when its episode ends."""

    def __init__(self, num_envs, seed):
        self.num_envs, self.rng = num_envs, np.random.default_rng(seed)

    def _start(self, n):
        return self.rng.uniform(-0.5, 0.5, size=(n, 3)).astype(np.float32)

    def reset(self):
        self.points, self.lengths = self._start(self.num_envs), np.zeros(self.num_envs, dtype=int)
        self.returns = np.zeros(self.num_envs)
        return self.points.copy()

    def step(self, action):
        place, speed, wind = self.points.T
        wind = 0.95 * wind + 0.1 * self.rng.normal(size=self.num_envs)
        speed = 0.9 * speed + 0.2 * (action - 1) + 0.1 * wind
        self.points = np.stack([place + 0.2 * speed, speed, wind], axis=1).astype(np.float32)
        reward = 1.0 - np.abs(self.points[:, 0])
        self.lengths += 1
        self.returns += reward
        done = (np.abs(self.points[:, 0]) > 1) | (self.lengths >= 60)
        finished = self.returns[done].tolist()
        self.points[done], self.lengths[done], self.returns[done] = self._start(int(done.sum())), 0, 0.0
        return self.points.copy(), reward, done, finished


def layer_init(layer, std=2**0.5):
    torch.nn.init.orthogonal_(layer.weight, std)
    torch.nn.init.constant_(layer.bias, 0.0)
    return layer


class Agent(nn.Module):
    def __init__(self):
        super().__init__()
        self.critic = nn.Sequential(
            layer_init(nn.Linear(3, 32)), nn.Tanh(), layer_init(nn.Linear(32, 1), std=1.0)
        )
        self.actor = nn.Sequential(
            layer_init(nn.Linear(3, 32)), nn.Tanh(), layer_init(nn.Linear(32, 3), std=0.01)
        )

    def get_value(self, x):
        return self.critic(x)

    def get_action_and_value(self, x, action=None):
        probs = Categorical(logits=self.actor(x))
        if action is None:
            action = probs.sample()
        return action, probs.log_prob(action), probs.entropy(), self.critic(x)


if __name__ == "__main__":
    args = Args()
    np.random.seed(args.seed)
    torch.manual_seed(args.seed)
    torch.set_num_threads(1)

    envs = DriftingPoints(args.num_envs, args.seed)
    agent = Agent()
    optimizer = torch.optim.Adam(agent.parameters(), lr=args.learning_rate, eps=1e-5)

    obs = torch.zeros((args.num_steps, args.num_envs, 3))
    actions = torch.zeros((args.num_steps, args.num_envs))
    logprobs = torch.zeros((args.num_steps, args.num_envs))
    rewards = torch.zeros((args.num_steps, args.num_envs))
    dones = torch.zeros((args.num_steps, args.num_envs))
    values = torch.zeros((args.num_steps, args.num_envs))

    global_step = 0
    start_time = time.time()
    next_obs = torch.tensor(envs.reset())
    next_done = torch.zeros(args.num_envs)
    episodic_returns = []
    explained = []

    for iteration in range(args.num_iterations):
        frac = 1.0 - iteration / args.num_iterations
        optimizer.param_groups[0]["lr"] = frac * args.learning_rate

        for step in range(args.num_steps):
            global_step += args.num_envs
            obs[step] = next_obs
            dones[step] = next_done
            with torch.no_grad():
                action, logprob, _, value = agent.get_action_and_value(next_obs)
                values[step] = value.flatten()
            actions[step] = action
            logprobs[step] = logprob
            observed, reward, done, finished = envs.step(action.numpy())
            rewards[step] = torch.tensor(reward)
            next_obs, next_done = torch.tensor(observed), torch.tensor(done).float()
            episodic_returns += [[global_step, each] for each in finished]

        # what each action was worth, by generalized advantage estimation
        with torch.no_grad():
            next_value = agent.get_value(next_obs).flatten()
            advantages = torch.zeros_like(rewards)
            lastgaelam = 0
            for t in reversed(range(args.num_steps)):
                last = t == args.num_steps - 1
                nextnonterminal = 1.0 - (next_done if last else dones[t + 1])
                nextvalues = next_value if last else values[t + 1]
                delta = rewards[t] + args.gamma * nextvalues * nextnonterminal - values[t]
                lastgaelam = delta + args.gamma * args.gae_lambda * nextnonterminal * lastgaelam
                advantages[t] = lastgaelam
            returns = advantages + values

        b_obs, b_actions, b_logprobs = obs.reshape(-1, 3), actions.reshape(-1), logprobs.reshape(-1)
        b_advantages, b_returns, b_values = advantages.flatten(), returns.flatten(), values.flatten()
        b_inds = np.arange(args.batch_size)
        minibatch_size = args.batch_size // args.num_minibatches
        for _ in range(args.update_epochs):
            np.random.shuffle(b_inds)
            for start in range(0, args.batch_size, minibatch_size):
                mb = b_inds[start : start + minibatch_size]
                _, newlogprob, entropy, newvalue = agent.get_action_and_value(b_obs[mb], b_actions[mb])
                ratio = (newlogprob - b_logprobs[mb]).exp()
                worth = (b_advantages[mb] - b_advantages[mb].mean()) / (b_advantages[mb].std() + 1e-8)
                clipped = torch.clamp(ratio, 1 - args.clip_coef, 1 + args.clip_coef)
                pg_loss = torch.max(-worth * ratio, -worth * clipped).mean()
                v_loss = 0.5 * (newvalue.view(-1) - b_returns[mb]).square().mean()
                loss = pg_loss - args.ent_coef * entropy.mean() + args.vf_coef * v_loss
                optimizer.zero_grad()
                loss.backward()
                nn.utils.clip_grad_norm_(agent.parameters(), args.max_grad_norm)
                optimizer.step()

        explained.append(1 - (b_returns - b_values).var().item() / b_returns.var().item())
        if iteration % 10 == 0:
            sps = int(global_step / (time.time() - start_time))
            print(f"global_step {global_step}, SPS {sps}, explained variance {explained[-1]:.3f}")

    weights = hashlib.sha256(b"".join(w.numpy().tobytes() for w in agent.state_dict().values())).hexdigest()
    report = {"weights": weights, "global_step": global_step, "episodic_returns": episodic_returns}
    Path(sys.argv[1]).write_text(json.dumps(report | {"explained": explained}))
