"""`run.batches(one, other)` goes through several loaders side by side, each of which resumes where it was."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from holdfast import Dataset, Run
from holdfast.errors import UsageError
from tests.support.interrupted import begin, both_ways, stop_after
from tests.support.small_loop import policy


def loader(first: int, size: int, **options: Any) -> DataLoader[Any]:
    data = TensorDataset(torch.arange(float(first), first + size))
    return DataLoader(data, **{"batch_size": 2, "shuffle": True, **options})


class Noisy(torch.utils.data.Dataset[Any]):
    """Samples with a random number of the worker's."""

    def __len__(self) -> int:
        return 10

    def __getitem__(self, index: int) -> tuple[int, float]:
        return index, float(torch.rand(()))


def generated(first: int, size: int) -> DataLoader[Any]:
    return loader(first, size, generator=torch.Generator().manual_seed(first))


PAIRS: dict[str, Any] = {
    "loaders": lambda: (loader(0, 10), loader(100, 14)),
    "the longer first": lambda: (loader(0, 14), loader(100, 6)),
    "three": lambda: (loader(0, 10), loader(100, 14), loader(200, 8)),
    "own generators": lambda: (generated(0, 10), generated(100, 14)),
    "a list": lambda: (loader(0, 10), [1, 2, 3, 4, 5, 6]),
    "a dataset": lambda: (loader(0, 10), Dataset(x=np.arange(12.0))),
    "workers": lambda: (loader(0, 10), DataLoader(Noisy(), batch_size=2, shuffle=True, num_workers=1)),
}


def plain(batch: Any) -> Any:
    if isinstance(batch, dict):
        return {name: plain(each) for name, each in batch.items()}
    if isinstance(batch, list | tuple):
        return [plain(each) for each in batch]
    return batch.tolist() if hasattr(batch, "tolist") else batch


def in_epochs(make: Any, **options: Any) -> Any:
    def train(directory: Path, stop: int | None) -> Any:
        torch.manual_seed(0)
        data = make()
        with begin(directory) as run:
            run["seen"] = seen = []
            run["done"] = 0
            for epoch in run.epochs(3):
                for batches in run.batches(*data, batch_size=2, **options):
                    seen.append((epoch, run.batch, plain(batches), float(torch.rand(()))))
                    stop_after(stop, run["done"])
                    run["done"] += 1
        return seen, run.last_resume and run.last_resume.verdict

    return train


@pytest.mark.medium
@pytest.mark.parametrize("until", ["shortest", "longest"])
@pytest.mark.parametrize("kind", PAIRS)
def test_one_that_is_interrupted_ends_as_one_that_is_not(kind: str, until: str, tmp_path: Path):
    (expected, _), (found, verdict) = both_ways(in_epochs(PAIRS[kind], until=until), tmp_path, 2, 6, 8)
    assert found == expected
    assert verdict == "exact"


@pytest.mark.medium
def test_an_epoch_ends_with_the_shortest(tmp_path: Path):
    seen, _ = in_epochs(PAIRS["loaders"])(tmp_path, None)
    assert [sum(epoch == each for epoch, *_ in seen) for each in range(3)] == [5, 5, 5]
    assert all(len(batches) == 2 for _, _, batches, _ in seen)


def test_until_the_longest_the_others_start_over_and_give_all_they_have(tmp_path: Path):
    seen, _ = in_epochs(lambda: (loader(0, 6), loader(100, 14)), until="longest")(tmp_path, None)
    assert len(seen) == 21
    ofs = [[x for _, _, batches, _ in seen for x in batches[index][0]] for index in (0, 1)]
    for of, size, first in ((ofs[0], 6, 0), (ofs[1], 14, 100)):
        rounds = [of[start : start + size] for start in range(0, len(of), size)]
        assert all(sorted(each) == [*range(first, first + size)] for each in rounds if len(each) == size)
        assert rounds[0] != rounds[1]


@pytest.mark.medium
@pytest.mark.parametrize("until", ["shortest", "longest"])
@pytest.mark.parametrize("at", [3, 5, 8])
def test_counted_in_steps(at: int, until: Any, tmp_path: Path):
    def train(directory: Path, stop: int | None, steps: int = 12) -> Any:
        torch.manual_seed(0)
        one, other = loader(0, 10), loader(100, 14)
        with begin(directory) as run:
            run["seen"] = seen = []
            for batches in run.batches(one, other, steps=steps, until=until):
                seen.append(plain(batches))
                stop_after(stop, run.step)
        return seen, run.last_resume and run.last_resume.verdict

    (expected, _), (found, verdict) = both_ways(train, tmp_path, at)
    assert found == expected
    assert verdict == "exact"
    train(tmp_path / "raised", None, at)
    assert train(tmp_path / "raised", None)[0] == expected


def test_their_length(tmp_path: Path):
    with begin(tmp_path, checkpointing=policy()) as run:
        for _ in run.epochs(1):
            assert len(run.batches(loader(0, 10), loader(0, 14))) == 5
            assert len(run.batches(loader(0, 10), loader(0, 14), until="longest")) == 7


def test_a_stream_that_is_longer_does_not_keep_an_epoch_end_from_resuming(tmp_path: Path):
    class Stream:
        """It has no position, and needs none at the end of an epoch."""

        def __iter__(self) -> Iterator[int]:
            return iter(range(9))

    def train(directory: Path, stop: int | None) -> Any:
        with begin(directory, checkpointing=None) as run:
            run["seen"] = seen = []
            for epoch in run.epochs(3):
                seen += run.batches([1, 2, 3], Stream())
                run.save("now")
                stop_after(stop, epoch)
        return seen, run.last_resume and run.last_resume.verdict

    (expected, _), (found, _) = both_ways(train, tmp_path, 1)
    assert found == expected == [(1, 0), (2, 1), (3, 2)] * 3


class TestRefused:
    def refuses(self, directory: Path, match: str, *data: Any, **options: Any) -> None:
        with begin(directory, checkpointing=policy()) as run:
            for _ in run.epochs(1):
                with pytest.raises(UsageError, match=match):
                    next(run.batches(*data, **options))

    def test_none(self, tmp_path: Path):
        self.refuses(tmp_path, "takes data")

    def test_the_same_twice(self, tmp_path: Path):
        one = loader(0, 10)
        self.refuses(tmp_path, "given twice", one, one)

    def test_an_end_that_has_no_meaning(self, tmp_path: Path):
        self.refuses(tmp_path, '"shortest" or "longest"', [1], [2], until="first")

    def test_the_longest_of_what_has_no_length(self, tmp_path: Path):
        class Stream:
            def __iter__(self) -> Iterator[int]:
                return iter(range(9))

        self.refuses(tmp_path, "say by len()", [1], Stream(), until="longest")

    def test_two_loops_side_by_side_name_the_way(self, tmp_path: Path):
        with begin(tmp_path, checkpointing=policy()) as run:
            for _ in run.epochs(1):
                pairs = zip(run.batches([1, 2]), run.batches([3, 4]), strict=False)
                with pytest.raises(UsageError, match=r"run.batches\(one, other\), in place of zip"):
                    next(pairs)

    def test_other_data_at_a_resume(self, tmp_path: Path):
        def train(*data: Any, crash: bool = False) -> Run:
            with begin(tmp_path) as run:
                for _ in run.epochs(2):
                    for _ in run.batches(*data, batch_size=1):
                        if run.step == 3 and crash:
                            raise KeyError
            return run

        with pytest.raises(KeyError):
            train(loader(0, 10), Dataset(x=np.arange(6.0)), crash=True)
        with pytest.raises(UsageError, match="2 loaders were gone through"):
            train(loader(0, 10), loader(100, 10), loader(200, 10))
        run = train(loader(0, 10), Dataset(x=np.arange(9.0)))
        assert run.last_resume is not None
        assert "loader 2's size was 6 and is 9" in run.last_resume.differences
