"""What was handed over in a list or dict, and put into another order since, is found there again; views in it, too."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from holdfast import attributes
from holdfast.variables._shared.order import Order
from tests.support.interrupted import begin, check_exact, every_batch, stop_after

torch = pytest.importorskip("torch")


def models_with_an_optimizer_each(directory: Path, stop: int | None) -> Any:
    torch.manual_seed(0)
    nets = [torch.nn.Linear(2, 1) for _ in range(3)]
    first = nets[0]
    optimizers = [torch.optim.Adam(net.parameters(), 0.05 * (n + 1)) for n, net in enumerate(nets)]
    with begin(directory, {"nets": nets, "optimizers": optimizers}) as run:
        for step in run.steps(9):
            x = torch.randn(4, 2)
            loss = sum((n + 1) * net(x).square().sum() for n, net in enumerate(nets)) + first(x).sum()
            for each in optimizers:
                each.zero_grad()
            loss.backward()
            for each in optimizers:
                each.step()
            if step % 3 == 1:
                nets.append(nets.pop(0))
            stop_after(stop, step)
    driven = [[each.param_groups[0]["params"][0] is net.weight for net in nets] for each in optimizers]
    return ([net.weight.tolist() for net in nets], driven), run.last_resume


def exchanged_in_a_dict(directory: Path, stop: int | None) -> Any:
    torch.manual_seed(0)
    nets: dict[Any, Any] = {"online": torch.nn.Linear(2, 1), 1: torch.nn.Linear(2, 1)}
    optimizer = torch.optim.Adam(nets["online"].parameters(), 0.1)
    with begin(directory, {"nets": nets, "optimizer": optimizer}) as run:
        for step in run.steps(9):
            optimizer.zero_grad()
            x = torch.randn(4, 2)
            (nets["online"](x) - 2 * nets[1](x)).square().sum().backward()
            optimizer.step()
            if step % 3 == 1:
                nets["online"], nets[1] = nets[1], nets["online"]
            stop_after(stop, step)
    return [net.weight.tolist() for net in nets.values()], run.last_resume


class Part:
    def __init__(self, data: Any) -> None:
        self.data, self.row = data, data[0]


class Memory:
    def __init__(self) -> None:
        self.data = np.zeros((3, 2))
        self.current, self.part = self.data[0], Part(self.data)
        self.pairs = [(self.current,)]


def views_that_are_chosen_anew(directory: Path, stop: int | None) -> Any:
    memory = Memory()
    with begin(directory, {"memory": attributes(memory)}) as run:
        for step in run.steps(9):
            memory.current += step
            memory.part.row *= 0.5
            memory.current = memory.data[step % 3]
            memory.part.row = memory.data[(step + 1) % 3]
            memory.pairs = [*memory.pairs, (memory.current,)][-3:]
            memory.pairs[0][0][1] += 1
            stop_after(stop, step)
    return memory.data.tolist(), run.last_resume


def views_in_a_dict(directory: Path, stop: int | None) -> Any:
    data = torch.zeros(3, 2)
    held = {"first": data[0], "second": data[0], "data": data}
    with begin(directory, {"held": held}) as run:
        for step in run.steps(9):
            held["first"] += step + 1
            held["second"] -= 0.5
            held["first"], held["second"] = data[(step + 1) % 3], data[(step + 2) % 3]
            stop_after(stop, step)
    return data.tolist(), run.last_resume


@pytest.mark.medium
@pytest.mark.parametrize("at", [(2,), (4,), (3, 6)], ids=str)
@pytest.mark.parametrize(
    "train",
    [
        models_with_an_optimizer_each,
        exchanged_in_a_dict,
        views_that_are_chosen_anew,
        views_in_a_dict,
    ],
    ids=lambda each: each.__name__,
)
def test_they_are_where_they_were(train: Any, at: tuple[int, ...], tmp_path: Path):
    check_exact(train, tmp_path, *at)


def test_going_back_takes_the_order_back(tmp_path: Path):
    nets = [torch.nn.Linear(1, 1) for _ in range(3)]
    optimizers, seen, weights = [torch.optim.SGD(net.parameters(), 0.1) for net in nets], [], np.zeros(1)
    names = {id(net): n for n, net in enumerate(nets)}
    state = {"nets": nets, "optimizers": optimizers, "weights": weights}
    with begin(tmp_path, state, checkpointing=every_batch(on_divergence="rollback")) as run:
        for step in run.steps(5):
            seen.append([names[id(net)] for net in nets])
            if step == 3 and not run.rollbacks:
                nets.append(nets.pop(0))
                weights[0] = np.nan
            run.log(loss=weights.sum())
    assert run.rollbacks == 1
    assert seen == [[0, 1, 2]] * 5


@pytest.mark.parametrize(
    "said", ["", "[]", "{}", '{"0": 1}', '{"0": "1", "1": "1"}', '{"0": "0", "1": "9"}', "[" * 9999]
)
def test_an_order_that_makes_no_sense_changes_nothing(said: str):
    nets = [torch.nn.Linear(1, 1), torch.nn.Linear(1, 1)]
    before, order = [*nets], Order()
    order.begin({"nets": nets})
    order.restore({"nets": nets}, {"nets": said})
    assert all(one is other for one, other in zip(nets, before, strict=True))
    order.restore({"nets": nets}, {"nets": json.dumps({"0": "1", "1": "0"})})
    assert nets[0] is before[1]
