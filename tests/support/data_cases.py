"""The loaders that the law is tried on, and a training that draws from every global stream in between.

Run as a script, it goes on from a saved position in a process of its own: NAME FILE_IN FILE_OUT.
"""

from __future__ import annotations

import pickle
import random
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    DistributedSampler,
    IterableDataset,
    RandomSampler,
    Sampler,
    Subset,
    WeightedRandomSampler,
    get_worker_info,
)
from torch.utils.data import Dataset as TorchDataset
from torchdata.stateful_dataloader import StatefulDataLoader

from holdfast import rng
from holdfast.data import BatchSource, Dataset, ResumableSampler, batches_of, sample_rng

SIZE, BATCH = 22, 4
SEED_AT_START = 0


class Samples(TorchDataset):
    """Counts what is read of it; a sample is its index and a draw from a stream of its own choice."""

    def __init__(self, noise: Callable[[int], float] = lambda index: 0.0) -> None:
        self.noise, self.read = noise, 0

    def __len__(self) -> int:
        return SIZE

    def __getitem__(self, index: int) -> tuple[int, float]:
        self.read += 1
        return index, self.noise(index)


class Augmented(Samples):
    """Draws from a generator that it holds itself."""

    def __init__(self) -> None:
        super().__init__(lambda index: self.rng.random())
        self.rng = np.random.default_rng(3)


class AnewEachEpoch(Augmented):
    """Makes its generator when it is told the epoch."""

    def set_epoch(self, epoch: int) -> None:
        self.rng = np.random.default_rng(epoch)


class NowAndThen(Samples):
    """Draws from every global stream, but not for each sample: a worker may have drawn nothing for long."""

    def __init__(self) -> None:
        super().__init__(
            lambda index: (
                random.random() + np.random.rand() + torch.rand(()).item() if index % 3 == 0 else 0.0
            )
        )


class Transformed(Samples):
    """Has a transform that draws from a generator of its own."""

    def __init__(self) -> None:
        super().__init__(lambda index: self.transform.jitter())
        self.transform = Jitter()


class Jitter:
    def __init__(self) -> None:
        self.rng = torch.Generator().manual_seed(8)

    def jitter(self) -> float:
        return torch.rand((), generator=self.rng).item()


NOISE = np.random.default_rng(0)


def noisy(value: float) -> float:
    return value + NOISE.random()


class Composed(Samples):
    """Has transforms that draw from generators in a list, a closure, the arguments of a partial, and a module."""

    def __init__(self) -> None:
        super().__init__(self.transformed)
        NOISE.bit_generator.state = np.random.default_rng(4).bit_generator.state
        jitter, dice = Jitter(), random.Random(6)
        self.transforms = [
            lambda value: value + jitter.jitter(),
            lambda value: value + dice.random(),
            partial(rolled, np.random.RandomState(7)),
            noisy,
        ]

    def transformed(self, index: int) -> float:
        value = 0.0
        for transform in self.transforms:
            value = transform(value)
        return value


def rolled(dice: np.random.RandomState, value: float) -> float:
    return value + dice.rand()


class SeededByWorker(Samples):
    """Has its generator from `worker_init_fn`."""

    def __init__(self) -> None:
        super().__init__(lambda index: self.rng.random())
        self.rng: Any = None


def make_generator(worker: int) -> None:
    info = get_worker_info()
    assert info is not None
    info.dataset.rng = np.random.default_rng(info.seed)  # pyright: ignore[reportAttributeAccessIssue]


class Seeded(Samples):
    """Draws in the way that does not depend on workers."""

    def __init__(self) -> None:
        super().__init__(lambda index: sample_rng(1, self.epoch, index).random())
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch


class EagerSampler(Sampler[int]):
    """Draws its order from Python's global stream when asked for an iterator."""

    def __iter__(self) -> Iterator[int]:
        order = list(range(SIZE))
        random.shuffle(order)
        return iter(order)

    def __len__(self) -> int:
        return SIZE


class LateSampler(EagerSampler):
    """Makes its generator when asked for its order, as accelerate's does."""

    def __init__(self) -> None:
        self.rng = None

    def __iter__(self) -> Iterator[int]:
        self.rng = self.rng or random.Random()
        self.rng.seed(self.epoch)
        return iter(self.rng.sample(range(SIZE), SIZE))

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch


class DrawingBatchSampler(Sampler[list[int]]):
    """Draws each batch from a generator of its own, and changes the size of its batches."""

    def __init__(self) -> None:
        self.rng = random.Random(5)

    def __iter__(self) -> Iterator[list[int]]:
        for number in range(6):
            yield [self.rng.randrange(SIZE) for _ in range(2 + number % 3)]


class Stream(IterableDataset):
    """A stream that knows where it is."""

    def __init__(self) -> None:
        self.position, self.passes = 0, 0

    def __iter__(self) -> Iterator[int]:
        for index in range(self.position, SIZE):
            self.position = index + 1
            yield index + 100 * self.passes
        self.position, self.passes = 0, self.passes + 1

    def state_dict(self) -> dict[str, int]:
        return {"position": self.position, "passes": self.passes}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.position, self.passes = state["position"], state["passes"]


class Remembering(Samples):
    """A map-style dataset with a state of its own, which torchdata's loader keeps."""

    def __init__(self) -> None:
        super().__init__(lambda index: float(self.read))

    def state_dict(self) -> dict[str, int]:
        return {"read": self.read}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.read = state["read"]


class GenerativeLoader(DataLoader):
    """A loader whose `__iter__` is a generator function, as those of wrappers often are."""

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        yield from super().__iter__()


def own(**options: Any) -> BatchSource:
    pixels, digit = np.arange(SIZE * 3.0).reshape(SIZE, 3), torch.arange(SIZE)
    return batches_of(Dataset(pixels=pixels, digit=digit), batch_size=BATCH, seed=3, **options)


def loader(dataset: Any = None, kind: Any = DataLoader, **options: Any) -> BatchSource:
    if "batch_sampler" not in options:
        options = {"batch_size": BATCH} | options
    return batches_of(kind(Samples() if dataset is None else dataset, **options), columns=("index", "noise"))


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(5)


def seed_by_number(worker: int) -> None:
    random.seed(worker)


def distributed(dataset: Samples) -> DistributedSampler:
    return DistributedSampler(dataset, num_replicas=2, rank=1, seed=4)


CASES: dict[str, Callable[[], BatchSource]] = {
    "own": own,
    "own, in order, whole batches": lambda: own(shuffle=False, drop_last=True),
    "list": lambda: batches_of([{"x": torch.arange(3) + n} for n in range(5)]),
    "sequential": loader,
    "shuffle": lambda: loader(shuffle=True),
    "shuffle, whole batches": lambda: loader(shuffle=True, drop_last=True),
    "shuffle, generator": lambda: loader(shuffle=True, generator=generator()),
    "replacement": lambda: loader(
        sampler=RandomSampler(range(SIZE), replacement=True, num_samples=70, generator=generator())
    ),
    "weighted": lambda: loader(sampler=WeightedRandomSampler([1.0] * SIZE, SIZE)),
    "eager sampler": lambda: loader(sampler=EagerSampler()),
    "late sampler": lambda: loader(sampler=LateSampler()),
    "drawing batch sampler": lambda: loader(batch_sampler=DrawingBatchSampler()),
    "batch sampler of an eager one": lambda: loader(batch_sampler=BatchSampler(EagerSampler(), 5, True)),
    "distributed": lambda: loader(sampler=distributed(Samples())),
    "resumable sampler": lambda: loader(sampler=ResumableSampler(SIZE, seed=9)),
    "one by one": lambda: loader(batch_size=None, shuffle=True),
    "subset, own noise": lambda: loader(Subset(Augmented(), list(range(3, 20))), shuffle=True),
    "noise made anew each epoch": lambda: loader(AnewEachEpoch(), shuffle=True),
    "transform": lambda: loader(Transformed(), shuffle=True),
    "hidden generators": lambda: loader(Composed(), shuffle=True),
    "noise of global streams": lambda: loader(
        Samples(lambda index: random.random() + np.random.rand() + torch.rand(()).item()), shuffle=True
    ),
    "rows of a Dataset": lambda: batches_of(
        DataLoader(Dataset(x=np.arange(SIZE)), batch_size=5, shuffle=True)
    ),
    "lazy loader": lambda: loader(kind=GenerativeLoader, shuffle=True),
    "stateful shuffle": lambda: loader(kind=StatefulDataLoader, shuffle=True),
    "stateful shuffle, generator": lambda: loader(
        kind=StatefulDataLoader, shuffle=True, generator=generator()
    ),
    "stateful dataset": lambda: loader(
        Remembering(), kind=StatefulDataLoader, shuffle=True, generator=generator()
    ),
    "stateful stream": lambda: batches_of(StatefulDataLoader(Stream(), batch_size=BATCH), columns="index"),
}
WITH_WORKERS: dict[str, Callable[[], BatchSource]] = {
    "2 workers": lambda: loader(Seeded(), shuffle=True, num_workers=2),
    "2 workers, generator": lambda: loader(shuffle=True, num_workers=2, generator=generator()),
    "2 persistent workers": lambda: loader(shuffle=True, num_workers=2, persistent_workers=True),
    "2 workers that draw": lambda: loader(NowAndThen(), shuffle=True, num_workers=2),
    "2 persistent workers that draw": lambda: loader(
        NowAndThen(), shuffle=True, num_workers=2, persistent_workers=True
    ),
    "2 workers that draw one by one": lambda: loader(
        NowAndThen(), batch_size=None, shuffle=True, num_workers=2, worker_init_fn=seed_by_number
    ),
    "2 workers, own noise": lambda: loader(Subset(Augmented(), list(range(3, 20))), num_workers=2),
    "2 persistent workers, own noise": lambda: loader(
        Transformed(), shuffle=True, num_workers=2, persistent_workers=True
    ),
    "2 workers, hidden generators": lambda: loader(Subset(Composed(), list(range(3, 20))), num_workers=2),
    "2 workers, generators of their own": lambda: loader(
        SeededByWorker(), num_workers=2, worker_init_fn=make_generator
    ),
    "2 persistent workers, generators of their own": lambda: loader(
        SeededByWorker(), num_workers=2, persistent_workers=True, worker_init_fn=make_generator
    ),
    "2 workers of a stateful stream": lambda: batches_of(
        StatefulDataLoader(Stream(), batch_size=BATCH, num_workers=2), columns="index"
    ),
    "2 stateful workers": lambda: loader(
        kind=StatefulDataLoader, shuffle=True, num_workers=2, generator=generator()
    ),
}


def train_on(batch: Any) -> Any:
    """What came, and what a training step with dropout, and a careless callback, would draw."""
    came = {name: torch.as_tensor(value).tolist() for name, value in batch.items()}
    return came, torch.nn.functional.dropout(torch.ones(8)).tolist(), random.random(), np.random.rand()


def train(source: BatchSource, rest: Iterator[Any], epoch: int, more_epochs: int = 2) -> list[list[Any]]:
    """The rest of `epoch` and the epochs after it, batch by batch."""
    later = range(epoch + 1, epoch + 1 + more_epochs)
    return [
        [train_on(batch) for batch in rest],
        *([train_on(batch) for batch in source.begin(one)] for one in later),
    ]


def resume(build: Callable[[], BatchSource], saved: dict[str, Any], epoch: int) -> list[list[Any]]:
    """In a process where everything is new and the global streams are elsewhere."""
    rng.seed_everything(999)
    source = build()
    rest = source.resume(saved["source"])
    assert source.fingerprint() == saved["fingerprint"]
    rng.restore_state(saved["streams"])
    return train(source, rest, epoch)


def save(source: BatchSource) -> dict[str, Any]:
    return {"source": source.get_state(), "fingerprint": source.fingerprint(), "streams": rng.capture_state()}


if __name__ == "__main__":
    name, file_in, file_out = sys.argv[1:]
    given = pickle.loads(Path(file_in).read_bytes())
    result = resume((CASES | WITH_WORKERS)[name], given, given["source"]["epoch"])
    Path(file_out).write_bytes(pickle.dumps(result))
