"""Where a loader's random generators are found, and what is said of those that do not go on."""

from __future__ import annotations

import json
import random
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch

import holdfast
from holdfast import rng
from holdfast.data import batches_of
from holdfast.data._generators import reachable_generators
from tests.support import data_cases
from tests.support.data_cases import SIZE, Jitter, Samples, loader

SHARED = random.Random(1)


def draws_from_shared(value: float) -> float:
    return value + SHARED.random()


def calls_what_draws(value: float) -> float:
    return draws_from_shared(value) + random.random() + torch.rand(()).item()


def draws_in_another_module(value: float) -> float:
    return value + data_cases.NOISE.random() + np.random.rand()


class Holder:
    of_class = np.random.RandomState(2)

    def __init__(self) -> None:
        dice = random.Random(3)
        self.steps = [Jitter(), {"deep": (Jitter(),)}, partial(print, random.Random(4), to=random.Random(5))]
        self.closing = lambda: dice.random()
        self.bound = Jitter().jitter
        self.again = self.steps[0]

    @property
    def drawn(self) -> float:
        return calls_what_draws(0.0)


class Slotted:
    __slots__ = ("rng", "unset")

    def __init__(self) -> None:
        self.rng = np.random.default_rng(1)


class SlottedPrivately:
    __slots__ = ("__rng",)

    def __init__(self) -> None:
        self.__rng = np.random.default_rng(1)


@pytest.mark.parametrize(
    ("part", "found"),
    [
        (
            Holder(),
            {
                "it.again.rng",  # the same, and nearer
                "it.steps[1]['deep'][0].rng",
                "it.steps[2].args[0]",
                "it.steps[2].keywords['to']",
                "it.closing.dice",
                "it.bound.__self__.rng",
                "it.of_class",
                "it.drawn.calls_what_draws.draws_from_shared.SHARED",
            },
        ),
        (Slotted(), {"it.rng"}),
        (SlottedPrivately(), {"it._SlottedPrivately__rng"}),
        (np.random.default_rng(1).random, {"it.__self__"}),
        (random.Random(1).uniform, {"it.__self__"}),
        ([random.random, random.uniform, np.random.rand, torch.rand], set()),
        (lambda dice=SHARED: dice, {"it.defaults[0]"}),
        (draws_in_another_module, {"it.NOISE"}),
        ([Jitter()] * 3, {"it[0].rng"}),
        ([*[0] * 256, Jitter()], set()),
        ({"streams": [random, np.random, torch.default_generator, np.random.mtrand._rand]}, set()),
        (json.loads, set()),
        (torch.zeros(3), set()),
        (None, set()),
    ],
    ids=lambda given: type(given).__name__,
)
def test_generators_are_found_wherever_they_are_held(part: Any, found: set[str]):
    assert set(reachable_generators({"it": part})) == found


class Reads(list):
    rng = random.Random(1)

    def __iter__(self):
        raise AssertionError("nobody asked for data")

    __len__ = items = __iter__


def test_looking_reads_no_data():
    assert set(reachable_generators({"it": Reads([Jitter()])})) == {"it[0].rng", "it.rng"}


def test_what_goes_round_in_circles_is_gone_through_once():
    part: list[Any] = [Jitter()]
    part.append(part)
    assert set(reachable_generators({"it": part})) == {"it[0].rng"}


class MakesItLate(Samples):
    def __init__(self) -> None:
        super().__init__(self.noisy)
        self.rng: np.random.Generator | None = None

    def noisy(self, index: int) -> float:
        self.rng = self.rng or np.random.default_rng(1)
        return self.rng.random()


@pytest.mark.parametrize(
    ("num_workers", "difference"),
    [
        (0, "loader.dataset.rng was a random generator and no longer exists: create it with the dataset"),
        (
            2,
            "a worker made the random generator dataset.rng for its first sample: create it in worker_init_fn",
        ),
    ],
)
def test_a_generator_made_with_the_first_sample_does_not_resume_and_the_verdict_says_so(
    num_workers, difference
):
    source = loader(MakesItLate(), num_workers=num_workers)
    rest = source.begin(0)
    for _ in range(3):
        next(rest)
    state = source.get_state()
    fresh = loader(MakesItLate(), num_workers=num_workers)
    fresh.resume(state)
    assert [each[: len(difference)] for each in fresh.differences] == [difference]


def test_workers_that_make_theirs_late_begin_each_epoch_anew_and_so_do_those_of_a_resume():
    source = loader(MakesItLate(), num_workers=2)
    list(source.begin(0))
    fresh = loader(MakesItLate(), num_workers=2)
    fresh.resume(source.get_state())
    assert fresh.differences == []


def test_another_transform_is_a_difference_and_no_refusal():
    class Old(Samples):
        def __init__(self) -> None:
            super().__init__()
            self.transforms = [Jitter(), Jitter()]

    class New(Old):
        def __init__(self) -> None:
            super().__init__()
            self.transforms = [Jitter(), len, Jitter()]

    source = loader(Old())
    next(source.begin(0))
    fresh = loader(New())
    list(fresh.resume(source.get_state()))
    assert [each.partition(" ")[0] for each in fresh.differences] == [
        "loader.dataset.transforms[1].rng",
        "loader.dataset.transforms[2].rng",
    ]


def test_a_loop_may_be_closed_over_without_its_own_parts_being_taken_for_generators(tmp_path):
    """A collation that sees the run, and through it everything."""
    policy = holdfast.Checkpointing(mode="disk", save_on=["epoch_end"])
    with holdfast.Run(tmp_path / "run", {"noise": np.random.default_rng(1)}, checkpointing=policy) as run:
        data = torch.utils.data.DataLoader(
            range(SIZE), batch_size=4, collate_fn=lambda items: {"x": torch.tensor(items), "run": bool(run)}
        )
        source = batches_of(data)
        next(source.begin(0))
        assert source.get_state()["generators"] == {}


def test_the_global_streams_are_nobodys_own():
    with rng.preserved():
        before = rng.draws()
        source = loader(data_cases.Composed())
        source.resume(source.get_state())
        assert rng.draws() == before


class Unfriendly(Samples):
    """Raises for what it does not know, as a proxy of something remote does."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        raise ConnectionError(f"nobody there to ask for {name}")


def test_data_that_raise_for_what_they_do_not_have_are_read_all_the_same():
    assert len(list(loader(Unfriendly()).begin(0))) > 1


@pytest.mark.medium
def test_a_generator_that_the_loop_makes_anew_each_epoch_resumes(tmp_path):
    def train(directory, stop_at: int | None = None) -> tuple[list[float], holdfast.Run]:
        data, seen = data_cases.Augmented(), []
        torch_loader = torch.utils.data.DataLoader(data, batch_size=4, generator=torch.Generator())
        policy = holdfast.Checkpointing(mode="disk", save_on="batch_end")
        with holdfast.Run(directory, {"place": 0}, checkpointing=policy) as run:
            for epoch in run.epochs(3):
                data.rng = np.random.default_rng(epoch)
                for batch in run.batches(torch_loader):
                    if run.step == stop_at:
                        raise RuntimeError("a cable was pulled")
                    seen.append(batch)
        return seen, run

    complete, _ = train(tmp_path / "uninterrupted")
    stop_at = len(complete) // 3 + 2
    with pytest.raises(RuntimeError, match="a cable"):
        train(tmp_path / "stopped", stop_at)
    rest, run = train(tmp_path / "stopped")
    assert run.last_resume is not None
    assert run.last_resume.verdict == "exact"
    assert str(rest) == str(complete)  # `seen` has come back, too


def test_what_a_generator_of_the_data_has_spawned_counts(tmp_path):
    class Noisy(torch.utils.data.Dataset):
        def __init__(self):
            self.rng = np.random.default_rng(0)

        def __len__(self):
            return 8

        def __getitem__(self, index):
            return float(self.rng.spawn(1)[0].random())

    def read(batches):
        return [next(batches).tolist() for _ in range(2)]

    first = batches_of(torch.utils.data.DataLoader(Noisy(), 2), raw=True)
    batches = first.begin(0)
    next(batches)
    saved = first.get_state()
    then = read(batches)
    second = batches_of(torch.utils.data.DataLoader(Noisy(), 2), raw=True)
    assert read(second.resume(saved)) == then
