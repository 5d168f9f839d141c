"""What sources say of themselves, refuse, and leave alone."""

from __future__ import annotations

import inspect
import random
from collections import namedtuple

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, IterableDataset, Sampler, TensorDataset

from holdfast import rng
from holdfast.data import Dataset, batches_of
from holdfast.errors import UsageError
from tests.support import data_cases
from tests.support.data_cases import CASES, SIZE, DrawingBatchSampler, Samples, loader, own, save


@pytest.fixture(autouse=True)
def _streams_of_others_stay():
    with rng.preserved():
        yield


class Numbers(IterableDataset):
    """A stream without a state: three epochs' worth of reading can be counted."""

    def __init__(self):
        self.read = 0

    def __iter__(self):
        for number in torch.randperm(12).tolist():
            self.read += 1
            yield number


def take(batches, count):
    return [next(batches) for _ in range(count)]


@pytest.mark.parametrize(
    "options", [{"shuffle": True}, {"batch_size": None}, {"sampler": data_cases.EagerSampler()}]
)
def test_no_sample_before_the_position_is_read_again(options):
    source = batches_of(DataLoader(Samples(), **options), columns=("index", "noise"))
    take(source.begin(0), 15)
    read: list[int] = []
    fresh = Samples(lambda index: float(read.append(index) is None))
    rest = batches_of(DataLoader(fresh, **options), columns=("index", "noise")).resume(source.get_state())
    assert read == []
    assert len(list(rest)) == len(read) == SIZE - 15


def test_a_loader_gives_the_same_batches_as_without_us():
    for options in (
        {"shuffle": True},
        {"shuffle": True, "generator": 1},
        {"batch_sampler": DrawingBatchSampler},
    ):
        plain, ours = (
            DataLoader(
                Samples(),
                **{name: torch.Generator() if value == 1 else value() if callable(value) else value
                   for name, value in options.items()},
            )
            for _ in range(2)
        )  # fmt: skip
        source = batches_of(ours, raw=True)
        rng.seed_everything(1)
        expected = [[batch[0].tolist() for batch in plain] for _ in range(3)]
        streams = rng.draws()
        rng.seed_everything(1)
        assert [[batch[0].tolist() for batch in source.begin(epoch)] for epoch in range(3)] == expected
        assert rng.draws() == streams


def test_set_epoch_is_called_wherever_it_is_known():
    dataset, sampler = data_cases.Seeded(), data_cases.distributed(Samples())
    source = loader(dataset, sampler=sampler)
    source.begin(3)
    assert (dataset.epoch, sampler.epoch) == (3, 3)
    state = source.get_state()
    source.begin(5)
    source.resume(state)
    assert (dataset.epoch, sampler.epoch) == (3, 3)


def test_the_fingerprint_is_that_of_the_next_batch():
    for name in ("own", "shuffle", "one by one"):
        source = CASES[name]()
        assert source.fingerprint() is None
        batches = source.begin(0)
        seen = [source.fingerprint(), *(source.fingerprint() for _ in batches)]
        assert seen[-1] is None
        assert len(set(seen)) == len(seen)


def test_asking_for_the_state_changes_nothing():
    for name, build in CASES.items():
        if "stateful" in name:
            continue  # torchdata warns when asked
        rng.seed_everything(0)
        silent = build()
        for _ in silent.begin(0):
            pass
        streams = rng.draws()
        rng.seed_everything(0)
        asked = build()
        for _ in asked.begin(0):
            save(asked)
        assert rng.draws() == streams, name


def test_sources_that_resume_alike_describe_themselves_alike():
    assert own().describe() == own().describe()
    assert own().describe() != own(drop_last=True).describe()
    other = batches_of(Dataset(pixels=np.zeros((SIZE, 3)), digit=torch.arange(SIZE)), batch_size=4, seed=3)
    assert {key for key, value in own().describe().items() if value != other.describe()[key]} == {"digest"}
    assert loader(shuffle=True).describe()["sampler"] == "RandomSampler"
    assert loader(shuffle=True).describe() != loader().describe()


def test_num_batches_is_told_where_it_is_known():
    assert own().num_batches == 6
    assert own(drop_last=True).num_batches == 5
    assert loader().num_batches == 6
    assert loader(batch_sampler=DrawingBatchSampler()).num_batches is None
    assert batches_of(Dataset(x=np.arange(9))).num_batches == 1


# --- streams without a position -------------------------------------------------------------------


def test_a_stream_resumes_exactly_at_an_epochs_end():
    rng.seed_everything(0)
    source = batches_of(DataLoader(Numbers(), batch_size=4), columns="n")
    list(source.begin(0))
    saved = save(source)
    expected = [batch["n"].tolist() for batch in source.begin(1)]
    fresh = batches_of(DataLoader(Numbers(), batch_size=4), columns="n")
    assert list(fresh.resume(saved["source"])) == []
    rng.restore_state(saved["streams"])
    assert [batch["n"].tolist() for batch in fresh.begin(1)] == expected
    assert "epoch bounds only" in fresh.exactness


def test_a_stream_is_read_again_only_where_that_is_allowed_and_counted():
    rng.seed_everything(0)
    source = batches_of(DataLoader(Numbers(), batch_size=4), columns="n")
    batches = source.begin(0)
    take(batches, 2)
    state = source.get_state()
    expected = [batch["n"].tolist() for batch in batches]
    with pytest.raises(UsageError, match=r"2 batches.*allow_reread=True"):
        batches_of(DataLoader(Numbers(), batch_size=4), columns="n").resume(state)
    willing = batches_of(DataLoader(Numbers(), batch_size=4), columns="n", allow_reread=True)
    assert [batch["n"].tolist() for batch in willing.resume(state)] == expected
    assert willing.reread == 2


def test_what_can_be_read_only_once_is_refused_at_once():
    for once in ((n for n in range(3)), iter([1, 2]), map(str, [1])):
        with pytest.raises(UsageError, match="only once"):
            batches_of(once)
    with pytest.raises(UsageError, match="cannot be made of an int"):
        batches_of(3)
    with pytest.raises(UsageError, match="gives samples, not batches"):
        batches_of(TensorDataset(torch.arange(3)))


class Wrapper:
    """A hand-written loader, which one may also ask for its next batch."""

    def __init__(self, seed: int = 0) -> None:
        order = torch.Generator().manual_seed(seed)
        self.inside = DataLoader(list(range(8)), batch_size=2, shuffle=True, generator=order)
        self.current = iter(self.inside)

    def __iter__(self):
        self.current = iter(self.inside)
        return self.current

    def __next__(self):
        return next(self.current)


class Restarting(Wrapper):
    def __iter__(self):
        super().__iter__()
        return self


def test_a_loader_with_a_next_batch_is_taken_if_its_iterators_are_others():
    as_if_alone, loader = Wrapper(), Wrapper()
    source = batches_of(loader, raw=True, allow_reread=True)
    expected = [[batch.tolist() for batch in as_if_alone] for _ in range(2)]
    assert [batch.tolist() for batch in source.begin(0)] == expected[0]
    rest = source.begin(1)
    assert [batch.tolist() for batch in take(rest, 2)] == expected[1][:2]
    again = batches_of(Wrapper(seed=5), raw=True, allow_reread=True)
    assert [batch.tolist() for batch in again.resume(source.get_state())] == expected[1][2:]


def test_a_loader_that_is_its_own_iterator_is_refused():
    with pytest.raises(
        UsageError, match=r"a Restarting is its own iterator.*__iter__ returns a new iterator"
    ):
        batches_of(Restarting())


# --- what is exact --------------------------------------------------------------------------------


class GloballyDrawing(Sampler):
    def __iter__(self):
        return (random.randrange(SIZE) for _ in range(SIZE))


def test_a_sampler_that_draws_while_the_epoch_runs_is_found_out():
    source = loader(sampler=GloballyDrawing(), batch_size=2)
    take(source.begin(0), 2)
    assert "draws from a global generator" in source.exactness
    fresh = loader(sampler=GloballyDrawing(), batch_size=2)
    state = source.get_state()
    random.seed(1)
    state["before"]["streams"] = rng.capture_state()
    with pytest.raises(UsageError, match="no longer gives the 2 batches of indices"):
        fresh.resume(state)


@pytest.mark.medium
def test_workers_that_drew_must_be_as_many_and_the_verdict_says_so():
    """What is drawn depends on which worker draws; where none does, their number is free."""
    for dataset, differs in (
        (data_cases.NowAndThen(), True),
        (data_cases.Augmented(), True),
        (Samples(), False),
    ):
        source = loader(dataset, num_workers=2)
        take(source.begin(0), 3)
        assert source.exactness == "exact"
        state = source.get_state()
        for number in (0, 1, 2):
            fresh = loader(dataset, num_workers=number)
            fresh.resume(state)
            expected = [f"workers draw random numbers, and their number was 2 and is {number}"]
            assert fresh.differences == (expected if differs and number != 2 else [])


def test_other_reasons_for_inexactness_are_named():
    if "in_order" in inspect.signature(DataLoader).parameters:  # torch 2.6
        assert "in_order=False" in loader(num_workers=1, in_order=False).exactness
    lazy = CASES["lazy loader"]()
    lazy.begin(0)
    assert "only when the first batch is requested" in lazy.exactness


# --- states that do not fit -----------------------------------------------------------------------


def test_a_state_of_another_kind_of_source_is_refused():
    with pytest.raises(
        UsageError, match="saved for 'holdfast Dataset', and the data now are 'torch DataLoader'"
    ):
        loader().resume(own().get_state())


def test_a_loader_without_its_generator_is_refused():
    source = loader(shuffle=True, generator=data_cases.generator())
    source.begin(0)
    with pytest.raises(
        UsageError, match=r"generators at \['loader.batch_sampler.sampler.generator'|generators at"
    ):
        loader(shuffle=True).resume(source.get_state())


def test_other_or_fewer_data_are_noticed():
    source = loader(shuffle=True)
    take(source.begin(0), 4)
    state = source.get_state()
    with pytest.raises(UsageError, match="no longer gives the 4 batches"):
        batches_of(DataLoader(list(range(SIZE + 1)), batch_size=4, shuffle=True)).resume(state)
    with pytest.raises(UsageError, match="ends after 2 batches, and 4 had been used"):
        batches_of(DataLoader(list(range(8)), batch_size=4, shuffle=True)).resume(state)
    rows = own()
    take(rows.begin(0), 5)
    with pytest.raises(UsageError, match="5 batches had been used, and an epoch now has 1"):
        batches_of(Dataset(x=np.arange(3)), batch_size=4).resume(rows.get_state())


# --- names of columns -----------------------------------------------------------------------------


def named(samples, **options):
    return next(batches_of(DataLoader(samples, batch_size=2), **options).begin(0))


Pair = namedtuple("Pair", "x y")


def test_batches_have_columns_by_name():
    assert list(named([(1, 2.0)] * 4, columns=("a", "b"))) == ["a", "b"]
    assert list(named([{"x": 1, "y": 2}] * 4)) == ["x", "y"]
    assert list(named([{"x": 1, "y": 2}] * 4, columns=["y"])) == ["y"]
    assert list(named([Pair(1, 2)] * 4)) == ["x", "y"]
    assert named([1, 2, 3], columns="n")["n"].tolist() == [1, 2]
    assert named([1, 2, 3], raw=True).tolist() == [1, 2]
    assert list(next(own(columns=["digit"]).begin(0))) == ["digit"]


@pytest.mark.parametrize(
    ("samples", "columns", "message"),
    [
        ([(1, 2, 3)] * 4, None, "batches of 3 items without names"),
        ([1, 2, 3], None, "batches of 1 item without names"),
        ([(1, 2)] * 4, ("a",), "batches of 2 items, and columns names 1"),
        ([{"x": 1}] * 4, ("z",), r"no \['z'\]; they have \['x'\]"),
    ],
)
def test_missing_names_must_be_given(samples, columns, message):
    with pytest.raises(UsageError, match=message):
        named(samples, columns=columns)


def test_arguments_without_a_meaning_are_refused():
    for wrong, message in (
        (lambda: own(columns=["nope"]), "no column 'nope'"),
        (lambda: batches_of(Dataset(x=[1]), batch_size=0), "integer >= 1"),
        (lambda: batches_of(Dataset(x=[1]), batch_size=2, drop_last=True), "leaves no batch"),
        (lambda: batches_of([[1]], batch_size=2), "makes its own batches"),
    ):
        with pytest.raises(UsageError, match=message):
            wrong()
