"""Deep Q-learning with a replay memory and a target network, in the manner of PyTorch's DQN tutorial and cleanrl.

    python dqn.py REPORT    # the final weights and numbers go to REPORT, as JSON

The agent crosses a lake of thin ice; an episode ends on the far shore, in a hole, or after 40 moves.
"""

import hashlib
import json
import math
import random
import sys
from collections import deque, namedtuple
from pathlib import Path

import torch
from torch import nn

import holdfast

BATCH_SIZE, GAMMA, EPS_START, EPS_END, EPS_DECAY, TAU, LR = 32, 0.97, 0.9, 0.05, 500, 0.02, 2e-3
TOTAL_STEPS, LEARNING_STARTS, CAPACITY, SEED = 1400, 100, 1000, 3

random.seed(SEED)
torch.manual_seed(SEED)
torch.set_num_threads(1)

Transition = namedtuple("Transition", ("state", "action", "next_state", "reward"))


class ReplayMemory:
    def __init__(self, capacity):
        self.memory = deque(maxlen=capacity)

    def push(self, *args):
        self.memory.append(Transition(*args))

    def sample(self, batch_size):
        return random.sample(self.memory, batch_size)

    def __len__(self):
        return len(self.memory)


class Lake:
    """A field of 6 × 6; the ice is slippery, and its holes are elsewhere in each episode."""

    moves = ((-1, 0), (1, 0), (0, -1), (0, 1))

    def __init__(self, seed):
        self.random = random.Random(seed)

    def reset(self):
        self.row, self.column, self.count = 0, 0, 0
        self.holes = {(self.random.randrange(1, 5), self.random.randrange(1, 5)) for _ in range(4)}
        return self._observe()

    def step(self, action):
        if self.random.random() < 0.1:
            action = self.random.randrange(4)
        row, column = self.moves[action]
        self.row, self.column = min(max(self.row + row, 0), 5), min(max(self.column + column, 0), 5)
        self.count += 1
        if (self.row, self.column) in self.holes:
            return self._observe(), -1.0, True
        if (self.row, self.column) == (5, 5):
            return self._observe(), 1.0, True
        return self._observe(), -0.01, self.count >= 40

    def _observe(self):
        near = [float((self.row + row, self.column + column) in self.holes) for row, column in self.moves]
        return torch.tensor([[self.row / 5, self.column / 5, *near]])


class DQN(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(6, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 4)
        )

    def forward(self, x):
        return self.layers(x)


env = Lake(SEED)
policy_net = DQN()
target_net = DQN()
target_net.load_state_dict(policy_net.state_dict())
optimizer = torch.optim.AdamW(policy_net.parameters(), lr=LR, amsgrad=True)
memory = ReplayMemory(CAPACITY)
steps_done = 0


def select_action(state):
    global steps_done
    epsilon = EPS_END + (EPS_START - EPS_END) * math.exp(-steps_done / EPS_DECAY)
    steps_done += 1
    if random.random() > epsilon:
        with torch.no_grad():
            return policy_net(state).argmax(1, keepdim=True)
    return torch.tensor([[random.randrange(4)]])


def optimize_model():
    if len(memory) < LEARNING_STARTS:
        return
    batch = Transition(*zip(*memory.sample(BATCH_SIZE), strict=True))
    is_final = torch.tensor([s is None for s in batch.next_state])
    values = policy_net(torch.cat(batch.state)).gather(1, torch.cat(batch.action))
    next_values = torch.zeros(BATCH_SIZE)
    with torch.no_grad():
        rest = torch.cat([s for s in batch.next_state if s is not None])
        next_values[~is_final] = target_net(rest).max(1).values
    expected = torch.tensor(batch.reward) + GAMMA * next_values
    loss = nn.functional.smooth_l1_loss(values, expected.unsqueeze(1))
    optimizer.zero_grad()
    loss.backward()
    nn.utils.clip_grad_value_(policy_net.parameters(), 100)
    optimizer.step()


episode_returns = []
episode_return = 0.0
state = env.reset()
with holdfast.Run("runs/dqn", {"policy": policy_net, "optimizer": optimizer}) as run:
    for step in run.steps(TOTAL_STEPS):
        action = select_action(state)
        next_state, reward, done = env.step(action.item())
        episode_return += reward
        memory.push(state, action, None if done else next_state, reward)
        state = next_state
        optimize_model()

        target_weights = target_net.state_dict()
        for key, value in policy_net.state_dict().items():
            target_weights[key] = value * TAU + target_weights[key] * (1 - TAU)
        target_net.load_state_dict(target_weights)

        if done:
            episode_returns.append(episode_return)
            if len(episode_returns) % 10 == 0:
                print(
                    f"step {step}, episode {len(episode_returns)}: return {sum(episode_returns[-10:]) / 10:.2f}"
                )
            state, episode_return = env.reset(), 0.0

states = [*policy_net.state_dict().values(), *target_net.state_dict().values()]
weights = hashlib.sha256(b"".join(w.numpy().tobytes() for w in states)).hexdigest()
report = {"weights": weights, "episode_returns": episode_returns, "steps_done": steps_done}
Path(sys.argv[1]).write_text(json.dumps(report))
