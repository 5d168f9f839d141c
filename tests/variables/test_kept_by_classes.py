"""What is kept where only a class leads to it: members of Enums, descriptors, names with two underscores; and beside a `state_dict`."""

from __future__ import annotations

import asyncio
import enum
import threading
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from holdfast.variables._looks import order_read
from tests.support.interrupted import begin, both_ways, check_exact, stop_after


class Arm(enum.Enum):
    LEFT = 0
    RIGHT = 1

    def __init__(self, index: int) -> None:
        self.count = 0


def test_attributes_of_the_members_of_an_enum(tmp_path):
    def train(directory: Path, stop: int | None) -> tuple[Any, Any]:
        for each in Arm:
            each.count = 0
        total = 0
        with begin(directory) as run:
            for step in run.steps(9):
                arm = min(Arm, key=lambda each: each.count * (each.value + 1))
                arm.count += 1
                total += arm.value * arm.count
                stop_after(stop, step)
        return (total, [each.count for each in Arm]), run.last_resume

    check_exact(train, tmp_path, 2, 5)


class Decaying:
    def __init__(self, start: float) -> None:
        self.start = start
        self.values: weakref.WeakKeyDictionary[Any, float] = weakref.WeakKeyDictionary()
        self.reads = 0

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        self.reads += 1
        return self.start / self.reads


class Private:
    __slots__ = ("__hidden",)

    def __init__(self) -> None:
        self.__hidden = 1.0

    def step(self) -> float:
        self.__hidden *= 1.5
        return self.__hidden


def test_descriptors_and_private_slots(tmp_path):
    def train(directory: Path, stop: int | None) -> tuple[Any, Any]:
        class Trainer:
            rate = Decaying(1.0)

        trainer, private, total = Trainer(), Private(), 0.0
        with begin(directory) as run:
            for step in run.steps(9):
                total += trainer.rate + private.step()
                stop_after(stop, step)
        return total, run.last_resume

    check_exact(train, tmp_path, 2, 5)


def test_names_with_two_underscores(tmp_path):
    def train(directory: Path, stop: int | None) -> tuple[Any, Any]:
        __scale = 1.0
        with begin(directory) as run:
            for step in run.steps(9):
                __scale *= 1.5
                stop_after(stop, step)
        return __scale, run.last_resume

    check_exact(train, tmp_path, 2, 5)


class Average:
    """Whose `state_dict` leaves its count out."""

    def __init__(self) -> None:
        self.shadow, self.count = np.zeros(2), 0

    def update(self, value: float) -> None:
        self.count += 1
        self.shadow += (value - self.shadow) / self.count

    def state_dict(self) -> dict[str, Any]:
        return {"shadow": self.shadow}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.shadow[:] = state["shadow"]


def test_what_a_variable_s_own_state_leaves_out(tmp_path):
    def train(directory: Path, stop: int | None) -> tuple[Any, Any]:
        average = Average()
        with begin(directory) as run:
            for step in run.steps(9):
                average.update(step * step)
                stop_after(stop, step)
        return average.shadow.tolist(), run.last_resume

    check_exact(train, tmp_path, 2, 5)


@pytest.mark.parametrize("members", [[8, 0], [(1, 2), (3, 4)], [3, 1, 2]])
def test_a_set_gives_its_numbers_in_the_same_order(members: list[Any], tmp_path):
    def train(directory: Path, stop: int | None) -> tuple[Any, Any]:
        seen: set[Any] = set()
        given = {0} if members[0] == 8 else {members[-1]}
        with begin(directory, {"given": given}) as run:
            for step in run.steps(4):
                seen.update(members if step == 0 else ())
                if step == 0:
                    given.clear()
                    given.update(members)
                stop_after(stop, step)
        return (list(seen), list(given)), run.last_resume

    check_exact(train, tmp_path, 1)


def test_a_set_whose_order_cannot_come_back_is_named(tmp_path):
    def train(directory: Path, stop: int | None) -> tuple[Any, Any]:
        frontier: set[int] = set()
        parts = {"open": set[int]()}
        with begin(directory, parts) as run:
            for step in run.steps(4):
                for each in frontier, parts["open"]:
                    each.update(range(0, 8000, 8))  # the first were given room among all of these
                    each -= set(range(80, 8000, 8))
                    each.add(1)
                stop_after(stop, step)
        return sorted(frontier), run.last_resume

    (expected, _), (found, report) = both_ways(train, tmp_path, 1)
    assert found == expected
    assert report.verdict == "exact but for: frontier, open"


def test_a_set_that_is_only_asked_what_is_in_it_is_not_named(tmp_path):
    def train(directory: Path, stop: int | None) -> tuple[Any, Any]:
        visited: set[int] = set()
        total = 0
        with begin(directory) as run:
            for step in run.steps(4):
                visited.update(range(0, 8000, 8))
                visited.difference_update(range(80, 8000, 8))
                visited.add(1)
                total += (step in visited) + len(visited)
                stop_after(stop, step)
        return total, run.last_resume

    check_exact(train, tmp_path, 1)


def test_a_task_of_asyncio_costs_no_other_variable_and_the_thread_that_trains_is_none(tmp_path):
    def train(directory: Path, stop: int | None) -> tuple[Any, Any]:
        thread, total = threading.current_thread(), 0

        async def body() -> Any:
            nonlocal total
            task = asyncio.current_task()
            with begin(directory) as run:
                for step in run.steps(6):
                    total += step * (task is not None) * (thread is threading.current_thread())
                    stop_after(stop, step)
            return run.last_resume

        report = asyncio.run(body())
        return total, report

    (expected, _), (found, report) = both_ways(train, tmp_path, 3)
    assert found == expected
    assert report.verdict == "exact but for: task"


@pytest.mark.parametrize(
    ("use", "is_read"),
    [
        ("min({})", False),
        ("min({}, key=abs)", True),
        ("sorted({})", False),
        ("sorted({}, key=abs)", True),
        ("1 in {}", False),
        ("{}.add(1)", False),
        ("{}.pop()", True),
        ("list({})", True),
        ("[x for x in {}]", True),
        ("{}[0].add(1)", False),
    ],
)
def test_which_uses_read_the_order_of_a_set(use, is_read, tmp_path):
    file = tmp_path / "uses.py"
    file.write_text(use.format("members"))
    assert order_read._uses(str(file))["members"] is is_read
