"""A loader in a loop that is not the run's: what it draws from is saved, or it is named."""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip("torchdata.nodes")

import torch
import torchdata.nodes as tn
from torch.utils.data import DataLoader, RandomSampler, SequentialSampler
from torchdata.stateful_dataloader import StatefulDataLoader

import holdfast
from holdfast import Checkpointing
from holdfast.variables._kinds import is_unread_loader
from tests.support.data_cases import Augmented, Samples
from tests.support.interrupted import Interrupted, begin, stop_after

pytestmark = pytest.mark.filterwarnings("ignore:'set_vital' is deprecated")  # torchdata 0.11 under torch 2.13


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(1)


def nodes(sampler: Any) -> tn.Loader:
    return tn.Loader(tn.Batcher(tn.SamplerWrapper(sampler), 2))


def trained(
    directory: Any, make: Any, stop: int | None = None
) -> tuple[list[Any], holdfast.ResumeReport | None]:
    torch.manual_seed(0)
    loader, seen = make(), []
    with begin(directory, {"seen": seen}, checkpointing=Checkpointing(save_on="epoch_end")) as run:
        for epoch in run.epochs(4):
            seen.extend(torch.as_tensor(batch[0]).tolist() for batch in loader)
            stop_after(stop, epoch)
    return seen, run.last_resume


EXACT = {
    "shuffled": lambda: DataLoader(Samples(), batch_size=2, shuffle=True),
    "with a generator": lambda: DataLoader(Samples(), batch_size=2, shuffle=True, generator=generator()),
    "of a sampler with one": lambda: DataLoader(
        Samples(), batch_size=2, sampler=RandomSampler(range(12), generator=generator())
    ),
    "stateful": lambda: StatefulDataLoader(Samples(), batch_size=2, shuffle=True),
    "nodes in order": lambda: nodes(SequentialSampler(range(12))),
}
NAMED = {
    "stateful, with a generator": lambda: StatefulDataLoader(
        Samples(), batch_size=2, shuffle=True, generator=generator()
    ),
    "stateful, over noise": lambda: StatefulDataLoader(Augmented(), batch_size=2),
    "nodes": lambda: nodes(RandomSampler(range(12))),
    "nodes with a generator": lambda: nodes(RandomSampler(range(12), generator=generator())),
}


@pytest.mark.parametrize("kind", EXACT)
def test_a_loader_whose_order_comes_back_is_exact(tmp_path, kind):
    wanted, _ = trained(tmp_path / "uninterrupted", EXACT[kind])
    for stop in (0, 2):
        with pytest.raises(Interrupted):
            trained(tmp_path / "killed", EXACT[kind], stop)
    seen, resumed = trained(tmp_path / "killed", EXACT[kind])
    assert seen == wanted
    assert resumed is not None
    assert resumed.verdict == "exact"


@pytest.mark.parametrize("kind", NAMED)
def test_one_whose_own_state_lacks_what_it_draws_is_named(tmp_path, kind):
    with pytest.raises(Interrupted):
        trained(tmp_path, NAMED[kind], 2)
    _, resumed = trained(tmp_path, NAMED[kind])
    assert resumed is not None
    assert resumed.verdict == "exact but for: loader"


def test_a_node_of_the_loader_that_the_run_goes_over_is_not_named(tmp_path):
    def train(stop: int | None) -> holdfast.ResumeReport | None:
        node, seen = tn.Batcher(tn.SamplerWrapper(RandomSampler(range(12), generator=generator())), 2), []
        loader = tn.Loader(node)
        with begin(tmp_path, {"seen": seen}) as run:
            for _ in run.epochs(2):
                for step, batch in enumerate(run.batches(loader)):
                    seen.append((batch, type(node).__name__))
                    stop_after(stop, step)
        return run.last_resume

    with pytest.raises(Interrupted):
        train(2)
    resumed = train(None)
    assert resumed is not None
    assert resumed.verdict == "exact"


def test_a_loader_that_nobody_has_read_is_known_as_such(tmp_path):
    loader = nodes(SequentialSampler(range(12)))
    assert is_unread_loader(loader)
    iter(loader)
    assert not is_unread_loader(loader)
