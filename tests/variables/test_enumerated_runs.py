"""An `enumerate` around a run's iterator counts on where it was."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest

from tests.support.interrupted import begin, both_ways, stop_after


@pytest.mark.medium
@pytest.mark.parametrize("first", [0, 1, 10])
@pytest.mark.parametrize("at", [2, 3, 4, 7])
def test_the_index_continues_within_an_epoch(first: int, at: int, tmp_path: Path):
    def train(directory: Path, stop: int | None) -> Any:
        indices, done = [], 0
        with begin(directory) as run:
            for number, epoch in enumerate(run.epochs(3), first):
                for index, batch in enumerate(run.batches(["a", "b", "c"]), first):
                    indices.append((number, epoch, index, batch))
                    done += 1
                    stop_after(stop, done)
        return indices

    expected, found = both_ways(train, tmp_path, at)
    assert found == expected
    assert len(found) == 9


@pytest.mark.medium
def test_the_index_of_steps_continues(tmp_path: Path):
    def train(directory: Path, stop: int | None) -> Any:
        indices = []
        with begin(directory) as run:
            for index, step in enumerate(run.steps(9), start=5):
                indices.append((index, step))
                stop_after(stop, step)
        return indices

    expected, found = both_ways(train, tmp_path, 3, 6)
    assert found == expected == [(step + 5, step) for step in range(9)]


@pytest.mark.medium
def test_a_second_loop_over_steps_counts_its_own(tmp_path: Path):
    def train(directory: Path, stop: int | None) -> Any:
        indices = []
        with begin(directory) as run:
            for index, step in enumerate(run.steps(3)):
                indices.append((index, step))
                stop_after(stop, step)
            for index, step in enumerate(run.steps(8)):
                indices.append((index, step))
                stop_after(stop, step)
        return indices

    for at in (1, 2, 5):
        expected, found = both_ways(train, tmp_path / str(at), at)
        assert found == expected


@pytest.mark.medium
def test_an_enumerate_around_something_in_between_is_named(tmp_path: Path):
    class Bar:
        """As tqdm does it."""

        def __init__(self, items: Any) -> None:
            self.items = items

        def __iter__(self) -> Any:
            yield from self.items

    def train(directory: Path, stop: int | None) -> Any:
        with begin(directory) as run:
            for _, step in enumerate(Bar(run.steps(6))):
                stop_after(stop, step)
        return run.last_resume

    _, report = both_ways(train, tmp_path, 3)
    assert report.verdict.startswith("not exact: an enumerate around something")
    assert "use run.batch, the index in the epoch" in report.verdict


def both(first: Any, second: Any) -> Any:
    return zip(first, second, strict=False)


WITHIN_ZIP: dict[str, Any] = {
    "after": lambda run: both(run.steps(6), iter("abcdef")),
    "before": lambda run: both(itertools.count(), run.steps(6)),
    "around a bar": lambda run: both(tqdm(run.steps(6)), iter("abcdef")),
    "inside a bar": lambda run: tqdm(both(run.steps(6), iter("abcdef"))),
}


def tqdm(items: Any) -> Any:
    yield from items


def resumed_at_3(around: Any, tmp_path: Path) -> Any:
    def train(directory: Path, stop: int | None) -> Any:
        with begin(directory) as run:
            for _ in around(run):
                stop_after(stop, run.step)
        return run.last_resume

    _, report = both_ways(train, tmp_path, 3)
    return report


@pytest.mark.medium
@pytest.mark.parametrize("around", WITHIN_ZIP.values(), ids=WITHIN_ZIP)
def test_what_a_zip_takes_beside_it_is_named(around: Any, tmp_path: Path):
    report = resumed_at_3(around, tmp_path)
    assert report.verdict.startswith("not exact: what a zip takes beside the run's iterator")
    assert "run.batches(one, other)" in report.verdict


@pytest.mark.medium
@pytest.mark.parametrize("around", [lambda run: enumerate(both(run.steps(6), "abcdef"))])
def test_an_enumerate_around_a_zip_is_named(around: Any, tmp_path: Path):
    report = resumed_at_3(around, tmp_path)
    assert any("an enumerate around something" in each for each in report.differences)
    assert any("what a zip takes beside" in each for each in report.differences)


@pytest.mark.medium
def test_a_zip_of_an_epoch_that_begins_is_named_by_nobody(tmp_path: Path):
    def train(directory: Path, stop: int | None) -> Any:
        with begin(directory, checkpointing=None) as run:
            for epoch in run.epochs(4):
                for _ in both(run.batches([1, 2, 3]), "abc"):
                    pass
                run.save("now")
                stop_after(stop, epoch)
        return run.last_resume

    _, report = both_ways(train, tmp_path, 2)
    assert report.verdict == "exact"


@pytest.mark.medium
@pytest.mark.parametrize(
    ("around", "said"),
    [
        (lambda run: itertools.pairwise(run.steps(8)), "itertools.pairwise around the run's iterator"),
        (lambda run: zip(itertools.count(), map(abs, run.steps(6)), strict=False), "what a zip takes beside"),
        (lambda run: enumerate(map(abs, run.steps(6))), "an enumerate around something"),
        (lambda run: itertools.accumulate(run.steps(6)), "itertools.accumulate around the run's iterator"),
    ],
)
def test_what_holds_items_around_the_iterator_is_named(around: Any, said: str, tmp_path: Path):
    assert any(said in each for each in resumed_at_3(around, tmp_path).differences)


@pytest.mark.medium
def test_what_only_passes_items_on_is_not(tmp_path: Path):
    report = resumed_at_3(lambda run: map(abs, filter(lambda step: step >= 0, run.steps(6))), tmp_path)
    assert report.verdict == "exact"
