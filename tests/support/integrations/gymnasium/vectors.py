"""An actor that learns from several environments at once, `gym.make_vec`; only the network and optimizer are handed over."""

import json
import os
import signal
import sys

import gymnasium as gym
import torch

from holdfast import Checkpointing, Run, capture, state

kill_at = int(sys.argv[1])
torch.set_num_threads(1)
torch.manual_seed(0)
envs = gym.wrappers.vector.RecordEpisodeStatistics(
    gym.make_vec("CartPole-v1", num_envs=3, vectorization_mode=sys.argv[2])
)
actor = torch.nn.Linear(4, 2)
optimizer = torch.optim.Adam(actor.parameters(), 1e-2)
observations, _ = envs.reset(seed=0)
total = torch.zeros(3)
policy = Checkpointing(save_on="batch_end", every_n=7)
with Run("runs/actor", {"actor": actor, "optimizer": optimizer}, checkpointing=policy) as run:
    for step in run.steps(160):
        if step == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)
        chosen = torch.distributions.Categorical(logits=actor(torch.as_tensor(observations)))
        actions = chosen.sample()
        observations, rewards, terminated, truncated, _ = envs.step(actions.numpy())
        total = total + torch.as_tensor(rewards).float()
        loss = -(chosen.log_prob(actions) * torch.as_tensor(rewards - terminated).float()).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

print(
    json.dumps(
        {
            "trained": state.digest(capture({"actor": actor, "optimizer": optimizer})),
            "total": total.tolist(),
            "statistics": [list(map(float, envs.return_queue)), int(envs.episode_count)],
            "observations": observations.tolist(),
            "verdict": run.last_resume and run.last_resume.verdict,
        }
    )
)
envs.close()
