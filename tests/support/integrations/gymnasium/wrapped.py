"""Q-learning on real gymnasium, ported by the quickstart: CartPole under wrappers; only the network and optimizer are handed over."""

import json
import os
import random
import signal
import sys
from collections import deque

import gymnasium as gym
import numpy as np
import torch
from gymnasium.wrappers import RecordEpisodeStatistics, TimeLimit

from holdfast import Checkpointing, Run, capture, state

kill_at = int(sys.argv[1])
torch.set_num_threads(1)
random.seed(0)
torch.manual_seed(0)
env = RecordEpisodeStatistics(TimeLimit(gym.make("CartPole-v1"), 40))
env.action_space.seed(0)
net = torch.nn.Sequential(torch.nn.Linear(4, 16), torch.nn.ReLU(), torch.nn.Linear(16, 2))
optimizer = torch.optim.Adam(net.parameters(), 1e-2)
memory, returns, epsilon = deque(maxlen=60), [], 1.0
observation, _ = env.reset(seed=0)
policy = Checkpointing(save_on="batch_end", every_n=7)
with Run("runs/dqn", {"net": net, "optimizer": optimizer}, checkpointing=policy) as run:
    for step in run.steps(160):
        if step == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)
        if random.random() < epsilon:
            action = int(env.action_space.sample())
        else:
            with torch.no_grad():
                action = int(net(torch.as_tensor(observation)).argmax())
        following, reward, terminated, truncated, info = env.step(action)
        memory.append((observation, action, reward, following, terminated))
        observation = following
        if terminated or truncated:
            returns.append(float(info["episode"]["r"]))
            observation, _ = env.reset()
        epsilon = max(0.1, epsilon * 0.98)
        if len(memory) < 16:
            continue
        columns = zip(*random.sample([*memory], 16), strict=True)
        before, actions, rewards, after, ends = (torch.as_tensor(np.array(each)).float() for each in columns)
        with torch.no_grad():
            wanted = rewards + 0.95 * (1 - ends) * net(after).max(1).values
        loss = (net(before).gather(1, actions.long()[:, None])[:, 0] - wanted).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

print(
    json.dumps(
        {
            "trained": state.digest(capture({"net": net, "optimizer": optimizer})),
            "returns": returns,
            "statistics": [list(env.return_queue), list(env.length_queue), env.episode_count],
            "observation": observation.tolist(),
            "next": [env.action_space.sample().item() for _ in range(20)],
            "verdict": run.last_resume and run.last_resume.verdict,
        }
    )
)
