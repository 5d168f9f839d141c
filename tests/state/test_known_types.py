"""Values come back as what they were where a live one, or a registered class, says so; else they are refused by name."""

from __future__ import annotations

import argparse
import random
from collections import deque, namedtuple
from dataclasses import dataclass, field
from decimal import Decimal
from enum import Enum
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from uuid import UUID

import numpy as np
import pytest
import torch

import holdfast
from holdfast import Run
from holdfast.errors import StateMismatchError, UsageError
from holdfast.state import _registry
from tests.support.small_loop import Crash, policy

Transition = namedtuple("Transition", ("state", "action", "next_state", "reward"))


@dataclass
class Result:
    epoch: int
    losses: list[float] = field(default_factory=list)


class Phase(Enum):
    WARM, MAIN = "warm", "main"


@pytest.fixture(autouse=True)
def nothing_registered(monkeypatch):
    monkeypatch.setattr(_registry, "_types", [])


VALUES = {
    "decimal": (Decimal("0.10"), Decimal(1)),
    "fraction": (Fraction(1, 3), Fraction(0)),
    "uuid": (UUID(int=7), UUID(int=0)),
    "path": (Path("a/b"), Path()),
    "range": (range(2, 9, 3), range(0)),
    "slice": (slice(1, None, 2), slice(0)),
    "namespace": (SimpleNamespace(a=1, b=[Decimal(2)]), SimpleNamespace(c=0)),
    "argparse": (argparse.Namespace(lr=0.1, seed=None), argparse.Namespace(lr=0.2)),
}


@pytest.mark.parametrize("name", VALUES)
def test_plain_values_need_no_live_one(tmp_path, name):
    value, other = VALUES[name]
    place = holdfast.save(tmp_path / "v", {"value": [value, value]})
    found = holdfast.load(place)["value"]
    assert found == [value, value]
    assert type(found[0]) is type(value)
    for live in ([], [other], [other, other]):
        state = {"value": list(live)}
        holdfast.load(place, into=state)
        assert state["value"] == [value, value]
        assert type(state["value"][0]) is type(value)


GROWN = {
    "named tuples": (Transition, [Transition(np.ones(2), 1, None, 0.5)] * 2),
    "dataclasses": (Result, [Result(1, [0.5]), Result(2)]),
    "members of an Enum": (Phase, [Phase.MAIN, Phase.WARM]),
}


@pytest.mark.parametrize("name", GROWN)
def test_where_there_is_no_live_one_a_class_has_to_be_registered(tmp_path, name):
    kind, values = GROWN[name]
    place = holdfast.save(tmp_path / "v", {"history": values})
    with pytest.raises(StateMismatchError, match=rf"register_type\({kind.__name__}\)"):
        holdfast.load(place, into={"history": []})
    holdfast.register_type(kind)
    for live in (deque(maxlen=9), []):
        state = {"history": live}
        holdfast.load(place, into=state)
        assert state["history"] is live
        assert [type(each) for each in live] == [kind, kind]
        assert str(list(live)) == str(values)
    assert [type(each) for each in holdfast.load(place)["history"]] == [kind, kind]


def test_a_live_one_says_of_which_class_it_is(tmp_path):
    values = {"t": Transition(1, 2, None, 3), "r": Result(4), "p": Phase.MAIN}
    place = holdfast.save(tmp_path / "v", values)
    state = {"t": Transition(0, 0, 0, 0), "r": Result(0), "p": Phase.WARM}
    holdfast.load(place, into=state)
    assert state == values
    assert type(state["t"]) is Transition
    assert holdfast.load(place) == {"t": (1, 2, None, 3), "r": {"epoch": 4, "losses": []}, "p": "main"}


def test_of_registered_classes_with_one_name_each_value_has_its_own(tmp_path):
    others = [type(Result.__name__, (Result,), {"__module__": module}) for module in ("before", "after")]
    place = holdfast.save(tmp_path / "v", {"history": [Result(1)]})
    for kind in (others[0], Result, others[1]):
        holdfast.register_type(kind)
    (found,) = holdfast.load(place)["history"]
    assert type(found) is Result


def test_none_that_became_a_member_of_an_enum(tmp_path):
    place = holdfast.save(tmp_path / "v", {"phase": Phase.MAIN})
    holdfast.register_type(Phase)
    state = {"phase": None}
    holdfast.load(place, into=state)
    assert state["phase"] is Phase.MAIN


@pytest.mark.parametrize("kind", [int, dict, np.ndarray, 3, "Transition", SimpleNamespace])
def test_other_classes_cannot_be_registered(kind):
    with pytest.raises(UsageError, match="takes named tuples, dataclasses and Enums"):
        holdfast.register_type(Transition, kind)
    assert _registry._types == []


@pytest.mark.medium
def test_a_replay_memory_of_named_tuples_is_killed_and_exact(tmp_path):
    holdfast.register_type(Transition)

    def train(directory: Path, crash_at: int = -1) -> Run:
        torch.manual_seed(0)
        random.seed(0)
        model = torch.nn.Linear(4, 2)
        optimizer = torch.optim.SGD(model.parameters(), 0.01)
        memory: deque = deque(maxlen=20)
        objects = {"model": model, "optimizer": optimizer, "memory": memory}
        with Run(directory, objects, checkpointing=policy(save_on="batch_end")) as run:
            for step in run.steps(30):
                nothing = step % 7 == 0
                memory.append(
                    Transition(torch.randn(4), random.randrange(2), None if nothing else torch.randn(4), 0.5)
                )
                if len(memory) >= 8:
                    optimizer.zero_grad()
                    sum(
                        (model(t.state)[t.action] - t.reward) ** 2 for t in random.sample(memory, 8)
                    ).backward()
                    optimizer.step()
                if step == crash_at:
                    raise Crash
        return run

    wanted = train(tmp_path / "uninterrupted").state_digest()
    with pytest.raises(Crash):
        train(tmp_path / "killed", 20)
    again = train(tmp_path / "killed")
    assert again.last_resume is not None
    assert again.last_resume.verdict == "exact"
    assert again.state_digest() == wanted
