"""Batches within epochs, as most scripts are written: what is made at one place of a turn and used in later ones, of every kind, comes back
wherever the run is interrupted, or is named."""

from __future__ import annotations

import copy
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support.interrupted import Interrupted, begin, both_ways, stop_after

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.medium

NUM_EPOCHS, BATCHES = 4, [1.0, 2.0, 3.0]


class Kept:
    """An object of the script's own, of which a first one is there as the loop begins."""

    def __init__(self, value: float) -> None:
        self.value = value

    def use(self) -> float:
        self.value = self.value * 0.5 + 1
        return self.value


class Holder:
    def __init__(self) -> None:
        self.held: Any = None


def of_module(module: Any) -> float:
    with torch.no_grad():
        module.weight.mul_(0.75).add_(0.01)
    return float(module.weight.detach().sum())


def pop_and_append(values: Any) -> float:
    values.append(values.pop(0) + 1.0)
    return float(sum(each * index for index, each in enumerate(values)))


def of_table(table: Any) -> float:
    table["a"] += 1.5
    return float(table["a"] + table["b"])


def of_array(values: Any) -> float:
    values[1:] += values[:-1] * 1.0
    return float(values.sum())


# What is made: from the model, a first object and a number that training has come to; and how it is used, which changes it.
KINDS: dict[str, tuple[Callable[[Any, Any, float], Any], Callable[[Any], float]]] = {
    "number": (lambda model, first, now: now, lambda each: each),
    "list": (lambda model, first, now: [now, 2.0], pop_and_append),
    "table": (lambda model, first, now: defaultdict(float, a=now), of_table),
    "array": (lambda model, first, now: np.full(3, now), of_array),
    "tensor": (lambda model, first, now: torch.full((3,), now), of_array),
    "generator": (
        lambda model, first, now: np.random.default_rng(int(now * 1e6)),
        lambda each: float(each.random()),
    ),
    "model": (lambda model, first, now: copy.deepcopy(model), of_module),
    "of a class": (lambda model, first, now: copy.deepcopy(first), Kept.use),
    "made anew": (lambda model, first, now: Kept(now), Kept.use),
}


def training(
    make: Callable[[Any, Any, float], Any], use: Callable[[Any], float], way: str
) -> Callable[[Path, int | None], Any]:
    """Makes something before, within and after the batches of the second epoch, keeps it in a variable, a list and an attribute,
    and uses all that there are in every batch. `way`: how the batches are gone through."""

    def train(directory: Path, stop: int | None) -> Any:
        torch.manual_seed(0)
        model, first, total, step = torch.nn.Linear(2, 1), Kept(0.5), 0.0, 0
        before = within = after = None
        pools, holders = ([], [], []), (Holder(), Holder(), Holder())

        def made(index: int) -> Any:
            pools[index].append(make(model, first, total))
            holders[index].held = make(model, first, total)
            return make(model, first, total)

        def use_all(batch: float) -> None:
            nonlocal step, total
            step += 1
            total = total * 0.5 + batch
            there = (
                before,
                within,
                after,
                *(each for pool in pools for each in pool),
                *(each.held for each in holders),
            )
            for each in there:
                total += 0 if each is None else use(each) * 0.125
            with torch.no_grad():
                model.weight.add_(total * 1e-3)

        def epoch_with(run: Any, epoch: int, given: Any, pool: list[Any], holder: Holder) -> None:
            """What the epochs before have made is given to it."""
            nonlocal within, total
            for index, batch in enumerate(run.batches(BATCHES)):
                use_all(batch)
                for each in (given, *pool, holder.held):
                    total += 0 if each is None else use(each) * 0.125
                if (epoch, index) == (1, 1):
                    within = made(1)
                stop_after(stop, step)

        def epoch_of_batches(run: Any, epoch: int) -> None:
            nonlocal within
            for index, batch in enumerate(run.batches(BATCHES)):
                use_all(batch)
                if (epoch, index) == (1, 1):
                    within = made(1)
                stop_after(stop, step)

        with begin(directory, {"model": model}) as run:
            for epoch in run.epochs(NUM_EPOCHS):
                if epoch == 1:
                    before = made(0)
                if way == "in a function":
                    epoch_of_batches(run, epoch)
                elif way == "by arguments":
                    epoch_with(run, epoch, after, pools[0], holders[2])
                else:
                    for index, batch in enumerate(run.batches(BATCHES)):
                        use_all(batch)
                        if (epoch, index) == (1, 1):
                            within = made(1)
                        stop_after(stop, step)
                if epoch == 1:
                    after = made(2)
        return (total, model.weight.tolist()), run.last_resume

    return train


@pytest.mark.parametrize("way", ["here", "in a function", "by arguments"])
@pytest.mark.parametrize("kind", KINDS)
def test_what_one_epoch_makes_is_there_in_the_next_ones(kind: str, way: str, tmp_path: Path):
    train = training(*KINDS[kind], way)
    (expected, _), (found, report) = both_ways(train, tmp_path, 4, 6, 8)
    assert (report.verdict, found == expected) == ("exact", True)
    with pytest.raises(Interrupted):
        train(tmp_path / "once", 5)
    found, report = train(tmp_path / "once", None)
    assert (report.verdict, found == expected) == ("exact", True)
