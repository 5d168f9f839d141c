"""Scripts as people port them, killed (SIGKILL) and started again, end like one that was not."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

AT_MODULE_LEVEL = """
import collections, os, signal, sys, time
import numpy as np
from holdfast import Checkpointing, Run, Write

stop = int(sys.argv[2]) if len(sys.argv) > 2 else None
rate = 0.5
best_val_loss, wait, history = float("inf"), 0, []
recent = collections.deque(maxlen=3)
rng = np.random.default_rng(1)
weights = np.zeros(3)
t0 = time.time()

def get_batch():
    return rng.normal(size=3)

def note(loss):
    global worst
    worst = max(worst, loss)

worst = 0.0
batch = get_batch()
policy = Checkpointing(mode="disk", save_on="batch_end", max_to_keep=3, write=Write(background=False))
with Run(sys.argv[1], {"weights": weights}, checkpointing=policy) as run:
    for index, step in enumerate(run.steps(12)):
        loss = float(((weights - batch) ** 2).sum())
        weights -= rate * (weights - batch)
        batch = get_batch()
        note(loss)
        wait = 0 if loss < best_val_loss else wait + 1
        best_val_loss = min(best_val_loss, loss)
        history.append((index, loss))
        recent.append(wait)
        t1 = time.time(); dt = t1 - t0; t0 = t1
        if step == stop:
            os.kill(os.getpid(), signal.SIGKILL)
print(run.last_resume and run.last_resume.verdict)
print(weights.tolist(), best_val_loss, wait, history, recent, worst, batch.tolist())
"""

MODULE_ATTRIBUTE = """
import os, signal, sys
import torch
from holdfast import Checkpointing, Run, Write

torch.set_num_threads(1)
stop = int(sys.argv[2]) if len(sys.argv) > 2 else None

class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layer, self.average = torch.nn.Linear(4, 1), 1.0
        self.register_buffer("seen", torch.zeros(4), persistent=False)

    def forward(self, x, hidden):
        self.seen += x.detach().sum(0)
        return self.layer(x) + hidden.sum() + 0.01 * self.seen.sum()

class Average(torch.nn.Module):
    def __init__(self, net):
        super().__init__()
        self.weight, self.updates = torch.nn.Parameter(net.layer.weight.detach().clone(), False), 0

    def update(self, net):
        self.updates += 1
        decay = 0.9 * (1 - 2.718 ** (-self.updates / 5))
        self.weight.data.mul_(decay).add_(net.layer.weight.detach(), alpha=1 - decay)

torch.manual_seed(0)
x = torch.randn(32, 4)
net = Net()
optimizer = torch.optim.SGD(net.parameters(), lr=0.01)
ema = Average(net)
hidden = torch.zeros(2)
data = torch.utils.data.TensorDataset(x, x.sum(1, keepdim=True))
loader = torch.utils.data.DataLoader(data, batch_size=4, shuffle=True)
policy = Checkpointing(mode="disk", save_on="batch_end", max_to_keep=3, write=Write(background=False))
objects = {"net": net, "optimizer": optimizer, "ema": ema}
best = {"loss": 1e9, "weights": None}
with Run(sys.argv[1], objects, checkpointing=policy) as run:
    for epoch in run.epochs(3):
        total = 0.0
        for index, (a, b) in enumerate(run.batches(loader)):
            loss = (net(a, hidden.detach()) - b).square().mean()
            net.average = 0.9 * net.average + 0.1 * loss.item()
            (loss / net.average / 2).backward()
            if (index + 1) % 2 == 0:
                optimizer.step()
                optimizer.zero_grad()
                ema.update(net)
            hidden = torch.tanh(hidden.detach() + loss)
            total += loss.item()
            if epoch * 8 + index == stop:
                os.kill(os.getpid(), signal.SIGKILL)
        if total < best["loss"]:
            best = {"loss": total, "weights": {name: value.clone() for name, value in net.state_dict().items()}}
print(run.last_resume and run.last_resume.verdict)
print(float(net.layer.weight.double().sum()), net.average, net.seen.tolist(), ema.updates, float(ema.weight.double().sum()))
print(hidden.tolist(), best["loss"], float(best["weights"]["layer.weight"].double().sum()), optimizer.param_groups[0]["lr"])
"""

SECOND_MODULE = """
best, moves = 0, []
def remember(step):
    global best
    best = best + step
"""

TWO_MODULES = """
import os, signal, sys
import memory
from holdfast import Checkpointing, Run, Write

stop = int(sys.argv[2]) if len(sys.argv) > 2 else None
total = 0
policy = Checkpointing(mode="disk", save_on="batch_end", max_to_keep=3, write=Write(background=False))
with Run(sys.argv[1], {"weights": [1]}, checkpointing=policy) as run:
    for step in run.steps(6):
        memory.remember(step)
        total += 1
        if step == stop:
            os.kill(os.getpid(), signal.SIGKILL)
print(run.last_resume and run.last_resume.verdict)
print(total)
"""


def run_script(script: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(script), *map(str, arguments)]
    return subprocess.run(
        command, cwd=script.parent, capture_output=True, text=True, timeout=120, check=False
    )


def killed_and_resumed(script: Path, *stops: int) -> tuple[str, str, str]:
    """What it prints uninterrupted; the verdict and what it prints after the last of the kills."""
    uninterrupted = run_script(script, "uninterrupted")
    assert uninterrupted.returncode == 0, uninterrupted.stderr
    for stop in stops:
        killed = run_script(script, "killed", stop)
        assert killed.returncode == -9, killed.stderr
    resumed = run_script(script, "killed")
    assert resumed.returncode == 0, resumed.stderr
    assert "could not be" not in resumed.stderr + uninterrupted.stderr
    verdict, _, rest = resumed.stdout.partition("\n")
    return uninterrupted.stdout.partition("\n")[2], verdict, rest


def written(directory: Path, text: str, name: str = "train.py") -> Path:
    script = directory / name
    script.write_text(text)
    return script


@pytest.mark.medium
def test_a_script_at_module_level(tmp_path: Path):
    expected, verdict, found = killed_and_resumed(written(tmp_path, AT_MODULE_LEVEL), 3, 8)
    assert (verdict, found) == ("exact", expected)


@pytest.mark.medium
def test_a_changed_hyperparameter_of_a_script_wins(tmp_path: Path):
    script = written(tmp_path, AT_MODULE_LEVEL)
    assert run_script(script, "killed", 5).returncode == -9
    script.write_text(AT_MODULE_LEVEL.replace("rate = 0.5", "rate = 0.0"))
    resumed = run_script(script, "killed")
    kept = run_script(script, "killed")  # it is done: nothing more is trained
    assert resumed.returncode == kept.returncode == 0
    weights = resumed.stdout.splitlines()[1]
    script.write_text(AT_MODULE_LEVEL.replace("run.steps(12)", "run.steps(5)"))
    assert run_script(script, "shorter").stdout.splitlines()[1].split("]")[0] == weights.split("]")[0]


@pytest.mark.medium
def test_a_module_with_attributes_and_a_hidden_state_with_a_graph(tmp_path: Path):
    pytest.importorskip("torch")
    expected, verdict, found = killed_and_resumed(written(tmp_path, MODULE_ATTRIBUTE), 5, 11)
    assert (verdict, found) == ("exact", expected)


@pytest.mark.medium
def test_a_global_of_another_module_of_the_user_is_named(tmp_path: Path):
    written(tmp_path, SECOND_MODULE, "memory.py")
    expected, verdict, found = killed_and_resumed(written(tmp_path, TWO_MODULES), 2)
    assert found == expected
    assert verdict == "exact but for: memory.best"
