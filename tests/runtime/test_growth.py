"""What is not there when the run begins and comes later: taken, or said at the first save that holds it."""

from __future__ import annotations

import copy
import enum
from collections import deque, namedtuple
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from holdfast import Checkpointing, Run
from holdfast.errors import StateMismatchError
from holdfast.state import _registry
from tests.support.verdicts import WITHOUT_VARIABLES

Transition = namedtuple("Transition", "state action reward")


@dataclass
class Row:
    epoch: int
    loss: float


class Phase(enum.Enum):
    WARM = "warm"
    MAIN = "main"


class Outer:
    @dataclass
    class Inner:
        n: int


@pytest.fixture(autouse=True)
def forget_types():
    before = [*_registry._types]
    _registry._types.clear()
    yield
    _registry._types[:] = before


MODEL = torch.nn.Linear(2, 2)
TAKEN = {
    "a state_dict": (lambda: {"best": None}, lambda s, i: s.update(best=copy.deepcopy(MODEL.state_dict()))),
    "dataclasses": (lambda: {"rows": []}, lambda s, i: s["rows"].append(Row(i, 0.5))),
    "dataclasses in a class": (lambda: {"rows": []}, lambda s, i: s["rows"].append(Outer.Inner(i))),
    "a member": (lambda: {"phase": None}, lambda s, i: s.update(phase=Phase.MAIN)),
    "another member": (lambda: {"phase": Phase.WARM}, lambda s, i: s.update(phase=Phase.MAIN)),
    "named tuples": (
        lambda: {"memory": deque(maxlen=9)},
        lambda s, i: s["memory"].append(Transition(i, {"deep": [Row(i, 0.0)]}, None)),
    ),
    "arrays": (lambda: {"seen": []}, lambda s, i: s["seen"].append(np.full(2, i))),
    "numbers": (lambda: {"seen": {}}, lambda s, i: s["seen"].update({i: [i]})),
}
SAID = {
    "a copy of the model": (
        "state/best",
        lambda: {"best": None},
        lambda s, i: s.update(best=copy.deepcopy(MODEL)),
    ),
    "models": ("state/pop", lambda: {"pop": []}, lambda s, i: s["pop"].append(torch.nn.Linear(2, 2))),
    "optimizers": (
        "state/opts",
        lambda: {"opts": []},
        lambda s, i: s["opts"].append(torch.optim.Adam(MODEL.parameters())),
    ),
    "more arrays": (
        "state/seen",
        lambda: {"seen": [np.zeros(2)]},
        lambda s, i: s["seen"].append(np.full(2, i)),
    ),
    "a longer array": (
        "state/curve",
        lambda: {"curve": np.zeros(0)},
        lambda s, i: s.update(curve=np.append(s["curve"], i)),
    ),
    "new names": (
        "state/by",
        lambda: {"by": {"a": np.zeros(1)}},
        lambda s, i: s["by"].update({f"k{i}": np.ones(1)}),
    ),
}


def train(directory: Path, start: Any, later: Any, crash_at: int | None = None) -> tuple[Any, Run]:
    state = start()
    objects = {"weight": torch.zeros(2), "state": state}
    policy = Checkpointing(save_on="batch_end", every_n=2)
    with Run(directory, objects, checkpointing=policy, variables="off") as run:
        for step in run.steps(6):
            later(state, step)
            if step == crash_at:
                raise RuntimeError("a cable was pulled")
    return state, run


def as_text(state: Any) -> str:
    return repr(state)


@pytest.mark.parametrize("what", TAKEN)
def test_what_can_be_made_again_is_taken_without_a_word(what, tmp_path, caplog):
    wanted, _ = train(tmp_path / "uninterrupted", *TAKEN[what])
    with pytest.raises(RuntimeError, match="a cable"):
        train(tmp_path / "killed", *TAKEN[what], crash_at=4)
    _registry._types.clear()  # as in another process
    state, run = train(tmp_path / "killed", *TAKEN[what])
    assert run.last_resume is not None
    assert run.last_resume.verdict == WITHOUT_VARIABLES
    assert as_text(state) == as_text(wanted)
    assert "started again" not in caplog.text


@pytest.mark.parametrize("what", SAID)
def test_what_cannot_is_said_once_at_the_first_save(what, tmp_path, caplog):
    path, start, later = SAID[what]
    with pytest.raises(RuntimeError, match="a cable"):
        train(tmp_path, start, later, crash_at=4)
    (said,) = [each.getMessage() for each in caplog.records if "started again" in each.getMessage()]
    assert f"{path}: " in said
    with pytest.raises(StateMismatchError):
        train(tmp_path, start, later)


def test_what_is_the_same_all_along_is_not_spoken_of(tmp_path, caplog):
    def start() -> Any:
        return {"model": torch.nn.Linear(2, 2), "rows": [Row(0, 1.0)], "n": 0, "arrays": [np.zeros(3)]}

    train(tmp_path, start, lambda s, i: s.update(n=i))
    assert "started again" not in caplog.text
