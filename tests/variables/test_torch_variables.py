"""A first port, in which only the model and its optimizer are handed over."""

from __future__ import annotations

import functools
import math
from pathlib import Path
from typing import Any

import pytest

import holdfast
from tests.support.interrupted import begin, both_ways, stop_after

torch = pytest.importorskip("torch")


def port(directory: Path, stop: int | None, with_iterator: bool) -> tuple[Any, holdfast.ResumeReport | None]:
    """With a schedule, an average of the model, a latent code with an optimizer, a hidden state, and a best state."""
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.BatchNorm1d(4), torch.nn.Linear(4, 1))
    optimizer = torch.optim.Adam(model.parameters(), 0.1)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 100)
    average = torch.optim.swa_utils.AveragedModel(model)
    code = torch.zeros(3, requires_grad=True)
    code_optimizer = torch.optim.Adam([code], 0.1)
    noise = torch.Generator().manual_seed(1)
    data = torch.utils.data.TensorDataset(torch.randn(32, 4), torch.randn(32, 1))
    loader = torch.utils.data.DataLoader(data, 4, shuffle=True)
    validation = torch.utils.data.DataLoader(data, 8)
    criterion, twice = torch.nn.MSELoss(), functools.partial(torch.mul, 2)
    hidden = (torch.zeros(2), torch.zeros(2))
    best, best_state, data_iter, done = math.inf, None, iter(loader), 0
    with begin(directory, {"model": model, "optimizer": optimizer}) as run:
        for _ in run.epochs(2):
            for x, y in run.batches(loader):
                if with_iterator:
                    x, y = next(data_iter, (x, y))
                loss = criterion(model(x), y) + twice(code.square().sum()) + hidden[0].sum()
                loss = loss + torch.randn(1, generator=noise).item() * code.sum()
                hidden = tuple(torch.tanh(each + loss) for each in hidden)
                optimizer.zero_grad()
                code_optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                code_optimizer.step()
                schedule.step()
                average.update_parameters(model)
                hidden = tuple(each.detach() for each in hidden)
                if loss.item() < best:
                    best = loss.item()
                    best_state = {name: each.clone() for name, each in model.state_dict().items()}
                done += 1
                stop_after(stop, done)
            with torch.no_grad():
                best = min(best, *(criterion(model(x), y).item() for x, y in validation))
    assert best_state is not None
    sums = [float(sum(each.detach().double().sum() for each in of.parameters())) for of in (model, average)]
    ends = (
        sums,
        code.tolist(),
        hidden[0].tolist(),
        best,
        best_state["0.weight"].tolist(),
        schedule.get_last_lr(),
    )
    return ends, run.last_resume


@pytest.mark.medium
@pytest.mark.parametrize("at", [(3,), (8,), (2, 11)])
def test_it_ends_in_the_bits_of_an_uninterrupted_run(at: tuple[int, ...], tmp_path: Path):
    (expected, _), (found, report) = both_ways(functools.partial(port, with_iterator=False), tmp_path, *at)
    assert found == expected
    assert report is not None
    assert report.verdict == "exact"


@pytest.mark.medium
def test_the_iterator_of_a_loader_is_the_only_thing_that_is_named(tmp_path: Path):
    _, (_, report) = both_ways(functools.partial(port, with_iterator=True), tmp_path, 3)
    assert report is not None
    assert report.verdict == "exact but for: data_iter"


class Learner:
    def __init__(self):
        self.net = torch.nn.Linear(3, 1)
        self.optimizer = torch.optim.Adam(self.net.parameters())
        self.seen: list[float] = []

    def learn(self):
        self.optimizer.zero_grad()
        loss = self.net(torch.rand(2, 3)).sum()
        loss.backward()
        self.optimizer.step()
        self.seen.append(loss.item())


@pytest.mark.parametrize("is_handed", [True, False])
def test_an_object_handed_over_by_its_attributes_is_no_variable_as_well(tmp_path: Path, is_handed: bool):
    def train(directory: Path, stop: int | None) -> Any:
        torch.manual_seed(0)
        learner = Learner()
        with begin(directory, {"learner": holdfast.attributes(learner)} if is_handed else None) as run:
            for step in run.steps(8):
                learner.learn()
                stop_after(stop, step)
        return learner.seen, learner.net.weight.tolist(), run.last_resume

    expected, found = both_ways(train, tmp_path, 5)
    assert found[:2] == expected[:2]
    assert found[2].verdict == "exact"


def test_what_metrics_have_seen_is_put_back(tmp_path: Path):
    """It lies in attributes of a library's module, and in no `state_dict`."""
    torchmetrics = pytest.importorskip("torchmetrics")

    def train(directory: Path, stop: int | None) -> Any:
        mean, error = torchmetrics.MeanMetric(), torchmetrics.MeanSquaredError()
        with begin(directory) as run:
            for step in run.steps(8):
                mean.update(step)
                error.update(torch.tensor([float(step)]), torch.zeros(1))
                stop_after(stop, step)
        return mean.compute().item(), error.compute().item()

    expected, found = both_ways(train, tmp_path, 5)
    assert found == expected


class Soft(torch.utils.data.Dataset):  # type: ignore[misc]
    def __init__(self, rows: Any) -> None:
        self.rows, self.targets = rows, rows.clone()

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Any:
        return self.rows[index], self.targets[index]


def test_an_observer_of_quantisation_continues_with_what_it_has_seen(tmp_path: Path):
    """It gives its tensors another size in place, which torch refuses for a view."""
    from torch.ao.quantization import MovingAverageMinMaxObserver

    def train(directory: Path, stop: int | None) -> tuple[Any, holdfast.ResumeReport | None]:
        observer = MovingAverageMinMaxObserver()
        with begin(directory) as run:
            for step in run.steps(6):
                observer(torch.tensor([-float(step), step + 1.0]))
                stop_after(stop, step)
        return (observer.min_val.item(), observer.max_val.item()), run.last_resume

    (expected, _), (found, report) = both_ways(train, tmp_path, 3)
    assert found == expected
    assert report is not None
    assert report.verdict == "exact"


@pytest.mark.parametrize("in_subset", [False, True])
def test_what_changes_in_a_dataset_that_only_its_loader_holds(in_subset: bool, tmp_path: Path):
    def train(directory: Path, stop: int | None) -> Any:
        torch.manual_seed(0)
        given = Soft(torch.randn(12, 2))
        loader = torch.utils.data.DataLoader(
            torch.utils.data.Subset(given, range(8)) if in_subset else given, 4, shuffle=True
        )
        del given
        weight = torch.ones(2)
        with begin(directory, {"weight": weight}) as run:
            for _ in run.epochs(3):
                for rows, targets in run.batches(loader):
                    weight += 0.1 * (rows * targets).mean(0)
                    stop_after(stop, run.step)
                dataset = loader.dataset.dataset if in_subset else loader.dataset
                dataset.targets = 0.5 * dataset.targets + weight
        return weight.tolist()

    expected, found = both_ways(train, tmp_path, 3, 5)
    assert found == expected


@pytest.mark.filterwarnings("ignore:Sparse")
@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
def test_sparse_and_nested_tensors_are_variables_like_others(tmp_path: Path):
    def train(directory: Path, stop: int | None) -> Any:
        rows = [torch.ones(2), torch.ones(3)]
        replaced, filled = torch.eye(3).to_sparse(), torch.eye(3).to_sparse_csr()
        strided = torch.nested.nested_tensor(rows)
        jagged = torch.nested.nested_tensor(rows, layout=torch.jagged)
        module = torch.nn.Module()
        module.register_buffer("mask", torch.eye(2).to_sparse())
        with begin(directory) as run:
            for step in run.steps(8):
                replaced, strided = replaced * 2, strided * 2
                filled.values().add_(1)
                jagged.values().add_(1)
                module.get_buffer("mask")._values().add_(1)
                stop_after(stop, step)
        parts = [replaced._values(), filled.values(), jagged.values(), *strided.unbind()]
        return [each.tolist() for each in (*parts, module.get_buffer("mask")._values())]

    expected, found = both_ways(train, tmp_path, 3, 6)
    assert found == expected
    assert expected[0] == [256.0] * 3


def averaged(directory: Path, stop: int | None) -> tuple[Any, holdfast.ResumeReport | None]:
    """The average is written through `.data`, which no counter of torch sees."""
    torch.manual_seed(0)
    model, average = torch.nn.Linear(4, 1), torch.nn.Linear(4, 1)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    with begin(directory, {"model": model, "optimizer": optimizer}) as run:
        for step in run.steps(8):
            model(torch.randn(8, 4)).square().mean().backward()
            optimizer.step()
            optimizer.zero_grad()
            for mean, each in zip(average.parameters(), model.parameters(), strict=True):
                mean.data.mul_(0.5).add_(each.data, alpha=0.5)
            stop_after(stop, step + 1)
    return [each.tolist() for each in average.parameters()], run.last_resume


def test_a_module_that_is_written_through_data_comes_back(tmp_path: Path):
    (expected, _), (found, report) = both_ways(averaged, tmp_path, 3)
    assert found == expected
    assert report is not None
    assert report.verdict == "exact"


def scaled(directory: Path, stop: int | None) -> tuple[Any, holdfast.ResumeReport | None]:
    torch.manual_seed(0)
    model = torch.nn.Linear(4, 1)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    scaler = torch.amp.GradScaler("cpu", growth_interval=2)
    with begin(directory, {"model": model, "optimizer": optimizer}) as run:
        for step in run.steps(8):
            optimizer.zero_grad()
            scaler.scale(model(torch.randn(8, 4)).square().mean()).backward()
            scaler.step(optimizer)
            scaler.update()
            stop_after(stop, step + 1)
    return (scaler.get_scale(), scaler.state_dict(), model.weight.tolist()), run.last_resume


def test_a_scaler_that_was_not_handed_over_comes_back(tmp_path: Path):
    (expected, _), (found, report) = both_ways(scaled, tmp_path, 3)
    assert found == expected
    assert report is not None
    assert report.verdict == "exact"
