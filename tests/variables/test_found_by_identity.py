"""What would come back as another object, by which nothing is found, or of another class, is named."""

from __future__ import annotations

import ctypes
from collections import Counter, defaultdict
from dataclasses import dataclass
from multiprocessing import Value
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary, ref

import numpy as np
import pytest

import holdfast
from tests.support.interrupted import Interrupted, begin, both_ways, stop_after


def verdict(train: Any) -> str:
    with pytest.raises(Interrupted):
        train(2)
    report = train(None).last_resume
    assert report is not None
    return report.verdict


@dataclass(eq=False)
class Player:
    name: str


def by_tensors(directory: Path, stop: int | None) -> Any:
    torch = pytest.importorskip("torch")
    model = torch.nn.Linear(2, 1)
    torch.nn.init.ones_(model.weight)
    weakly = WeakKeyDictionary[Any, int]()
    momentum, seen, modes = (
        defaultdict[Any, dict[str, Any]](dict),
        dict[int, float](),
        {model: 0, stop_after: 1},
    )
    with begin(directory, {"model": model}) as run:
        for step in run.steps(6):
            modes[model] += step
            weakly[model] = weakly.get(model, 0) + step
            for each in model.parameters():
                state = momentum[each]
                state["m"] = state.get("m", 0) * 0.5 + step
                seen[id(each)] = seen.get(id(each), 0.0) + state["m"]
            stop_after(stop, step)
    return (
        [(momentum[each]["m"], seen[id(each)]) for each in model.parameters()],
        [*modes.values(), *weakly.values()],
        run.last_resume,
    )


def by_objects(directory: Path, stop: int | None) -> Any:
    players = [Player("a"), Player("b")]
    ratings, wins, beaten = dict.fromkeys(players, 0.0), Counter[Player](), dict[int, int]()
    same = beaten
    with begin(directory) as run:
        for step in run.steps(6):
            player = players[step % 2]
            ratings[player] += step
            wins[player] += 1
            beaten[id(player)] = beaten.get(id(player), 0) + 1
            assert same is beaten
            if step == 3:
                wins = Counter(wins)
            stop_after(stop, step)
    return [(each.name, ratings[each], wins[each], beaten[id(each)]) for each in players], 0, run.last_resume


@pytest.mark.medium
@pytest.mark.parametrize("at", [(2,), (4,), (3, 5)], ids=str)
@pytest.mark.parametrize("train", [by_tensors, by_objects], ids=lambda each: each.__name__)
def test_a_dict_by_objects_or_by_their_ids_finds_them_again(train: Any, at: tuple[int, ...], tmp_path: Path):
    expected, found = both_ways(train, tmp_path, *at)
    assert found[:2] == expected[:2]
    assert found[2].verdict == "exact"


def test_a_dict_by_objects_that_no_name_leads_to_is_named(tmp_path: Path):
    def train(stop: int | None) -> Any:
        torch = pytest.importorskip("torch")
        by_tensor, by_id, ids = {}, {}, set()
        hidden = [torch.zeros(2)]
        with begin(tmp_path) as run:
            for step in run.steps(6):
                hidden.append(torch.ones(2))
                by_tensor[hidden[-1]] = step
                players = [Player("a")]
                by_id[id(players[0])] = step
                ids.add(id(players[0]))
                stop_after(stop, step)
                del players
        return run

    assert verdict(train).startswith("exact but for: by_tensor")


def test_ids_and_objects_within_keys_are_named(tmp_path: Path):
    torch = pytest.importorskip("torch")

    def train(stop: int | None) -> Any:
        model = torch.nn.Linear(2, 1)
        nested: dict[str, dict[int, int]] = {"n": {}}
        pairs: dict[Any, int] = {}
        flat: dict[Any, int] = {}
        with begin(tmp_path, {"model": model}) as run:
            for step in run.steps(6):
                for each in model.parameters():
                    nested["n"][id(each)] = flat["m", id(each)] = pairs[each, "m"] = step
                stop_after(stop, step)
        return run

    assert verdict(train) == "exact but for: pairs, nested, flat"


def test_a_weak_reference_that_is_chosen_anew_and_counters_of_c_are_named(tmp_path: Path):
    def train(stop: int | None) -> Any:
        players = [Player("a"), Player("b")]
        best, stays, counted, shared = ref(players[0]), ref(players[1]), ctypes.c_long(0), Value("i", 0)
        with begin(tmp_path) as run:
            for step in run.steps(6):
                best = ref(players[1])
                counted.value += 1
                shared.value += 1
                stop_after(stop, step)
        assert best() is stays()
        return run

    assert verdict(train) == "exact but for: best, counted, shared"


def test_an_optimizer_that_keeps_something_by_id_is_named(tmp_path: Path):
    torch = pytest.importorskip("torch")

    class Normed(torch.optim.SGD):
        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__(*args, **options)
            self.norms: dict[int, float] = {}

    def train(stop: int | None) -> Any:
        model = torch.nn.Linear(2, 1)
        optimizer = Normed(model.parameters(), lr=0.1)
        with begin(tmp_path, {"model": model, "optimizer": optimizer}) as run:
            for step in run.steps(6):
                optimizer.norms.update({id(each): float(step) for each in model.parameters()})
                stop_after(stop, step)
        return run

    assert "keeps by id() of a parameter (norms)" in verdict(train)


def test_a_number_of_an_own_class_is_named(tmp_path: Path):
    class Rate(float):
        def halved(self) -> Rate:
            return Rate(self / 2)

    def train(stop: int | None) -> Any:
        rate = Rate(1.0)
        with begin(tmp_path) as run:
            for step in run.steps(6):
                rate = rate.halved()
                stop_after(stop, step)
        return run

    assert verdict(train) == "exact but for: rate"


def test_what_is_set_on_a_parameter_comes_back(tmp_path: Path):
    torch = pytest.importorskip("torch")

    def train(stop: int | None, *, before: bool) -> Any:
        model = torch.nn.Linear(2, 1)
        for each in model.parameters() if before else ():
            each.velocity = torch.zeros_like(each)
        with begin(tmp_path / str(before), {"model": model}) as run:
            for step in run.steps(6):
                for each in model.parameters():
                    each.velocity = getattr(each, "velocity", torch.zeros_like(each)) + 1
                stop_after(stop, step)
        assert float(model.bias.velocity) == 6
        return run

    assert verdict(lambda stop: train(stop, before=True)) == "exact"
    assert verdict(lambda stop: train(stop, before=False)) == "exact"


def test_variables_that_are_looked_up_by_text_come_back(tmp_path: Path):
    def train(directory: Path, stop: int | None) -> tuple[Any, holdfast.ResumeReport | None]:
        weights = np.zeros(1)
        with begin(directory, {"weights": weights}) as run:
            for step in run.steps(8):
                mean = 0.5 * mean + step if "mean" in locals() else 1.0  # noqa: F821
                weights += mean
                stop_after(stop, step)
        return weights.tolist(), run.last_resume

    (expected, _), (found, report) = both_ways(train, tmp_path, 3)
    assert found == expected
    assert report is not None
    assert report.verdict == "exact"
