"""REINFORCE balances a pole, in the manner of PyTorch's reinforcement_learning example.

    python reinforce.py REPORT    # the final weights and numbers go to REPORT, as JSON

The cart and its pole are simulated here; each episode starts from a random place.
"""

import argparse
import hashlib
import json
import math
import random
from pathlib import Path

import torch
from torch import nn
from torch.distributions import Categorical

import holdfast

parser = argparse.ArgumentParser(description="REINFORCE with a pole on a cart")
parser.add_argument("report")
parser.add_argument("--gamma", type=float, default=0.99)
parser.add_argument("--seed", type=int, default=543)
parser.add_argument("--episodes", type=int, default=130)
parser.add_argument("--log-interval", type=int, default=10)
args = parser.parse_args()

torch.manual_seed(args.seed)
torch.set_num_threads(1)


class CartPole:
    """A pole on a cart that is pushed left (0) or right (1); over once it leans or moves too far."""

    def __init__(self, seed):
        self.random = random.Random(seed)
        self.state = None

    def reset(self):
        self.state = [self.random.uniform(-0.05, 0.05) for _ in range(4)]
        return list(self.state)

    def step(self, action):
        x, v, angle, turn = self.state
        force = 10.0 if action == 1 else -10.0
        push = (force + 0.05 * turn**2 * math.sin(angle)) / 1.1
        bend = 9.8 * math.sin(angle) - math.cos(angle) * push
        bend /= 0.5 * (4 / 3 - 0.1 * math.cos(angle) ** 2 / 1.1)
        slide = push - 0.05 * bend * math.cos(angle) / 1.1
        self.state = [x + 0.02 * v, v + 0.02 * slide, angle + 0.02 * turn, turn + 0.02 * bend]
        done = abs(self.state[0]) > 2.4 or abs(self.state[2]) > 0.21
        return list(self.state), 1.0, done


class Policy(nn.Module):
    def __init__(self):
        super().__init__()
        self.affine1, self.dropout, self.affine2 = nn.Linear(4, 64), nn.Dropout(p=0.4), nn.Linear(64, 2)
        self.saved_log_probs = []
        self.rewards = []

    def forward(self, x):
        return torch.softmax(self.affine2(torch.relu(self.dropout(self.affine1(x)))), dim=1)


env = CartPole(args.seed)
policy = Policy()
optimizer = torch.optim.Adam(policy.parameters(), lr=1e-2)
eps = 1e-8


def select_action(state):
    m = Categorical(policy(torch.tensor([state])))
    action = m.sample()
    policy.saved_log_probs.append(m.log_prob(action))
    return action.item()


def finish_episode():
    R = 0.0
    returns = []
    for r in policy.rewards[::-1]:
        R = r + args.gamma * R
        returns.insert(0, R)
    returns = torch.tensor(returns)
    returns = (returns - returns.mean()) / (returns.std() + eps)
    losses = [-log_prob * R for log_prob, R in zip(policy.saved_log_probs, returns, strict=True)]
    optimizer.zero_grad()
    torch.cat(losses).sum().backward()
    optimizer.step()
    del policy.rewards[:]
    del policy.saved_log_probs[:]


def main():
    running_reward = 10
    lengths = []
    with holdfast.Run("runs/reinforce", {"policy": policy, "optimizer": optimizer}) as run:
        for i_episode in run.steps(args.episodes):
            state, ep_reward = env.reset(), 0
            for _ in range(200):  # no endless episodes
                action = select_action(state)
                state, reward, done = env.step(action)
                policy.rewards.append(reward)
                ep_reward += reward
                if done:
                    break
            running_reward = 0.05 * ep_reward + (1 - 0.05) * running_reward
            lengths.append(ep_reward)
            finish_episode()
            if i_episode % args.log_interval == 0:
                print(f"Episode {i_episode}: reward {ep_reward:.2f}, average reward {running_reward:.2f}")

    weights = hashlib.sha256(b"".join(w.numpy().tobytes() for w in policy.state_dict().values())).hexdigest()
    report = {"weights": weights, "running_reward": running_reward, "lengths": lengths}
    Path(args.report).write_text(json.dumps(report))


if __name__ == "__main__":
    main()
