"""Objects with a state of their own that are made in the loop come back as copies of others, or are named at the first save."""

from __future__ import annotations

import collections
import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.interrupted import Interrupted, begin, both_ways, check_exact, every_batch, stop_after
from tests.variables.test_killed_scripts import killed_and_resumed, written

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.medium


def model_and_optimizer() -> tuple[Any, Any]:
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Dropout(0.5), torch.nn.Linear(4, 1))
    return model, torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)


def update(model: Any, optimizer: Any, other: Any = None) -> None:
    x = torch.randn(8, 3)
    aim = 1 if other is None else other(x).detach()
    loss = (model(x) - aim).square().mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


def values(*models: Any) -> list[Any]:
    return [[each.tolist() for each in one.state_dict().values()] for one in models]


def best_of_all(directory: Path, stop: int | None) -> Any:
    model, optimizer = model_and_optimizer()
    best, found = None, float("inf")
    with begin(directory, {"model": model, "optimizer": optimizer}) as run:
        for step in run.steps(12):
            update(model, optimizer, best)
            size = abs(float(model[0].bias.detach().sum()) - 0.1 * step)
            if size < found:
                best, found = copy.deepcopy(model).eval().requires_grad_(False), size
            stop_after(stop, step)
    assert best is not None
    assert not best.training
    assert not any(each.requires_grad for each in best.parameters())
    assert best is not model
    return (values(model, best), found), run.last_resume


class Kept:
    """Keeps the best one in an attribute, and a pair of them in a tuple."""

    later: Any

    def __init__(self) -> None:
        self.best: Any = None
        self.pair: Any = ()


def kept_in_attributes(directory: Path, stop: int | None) -> Any:
    model, optimizer = model_and_optimizer()
    kept, snapshots = Kept(), {}
    with begin(directory, {"model": model, "optimizer": optimizer}) as run:
        for step in run.steps(12):
            update(model, optimizer, kept.best)
            if step % 3 == 1:
                kept.best = copy.deepcopy(model)
                kept.pair = (float(step), kept.best)
                snapshots[f"at {step}"] = {"model": copy.deepcopy(model), "step": step}
                kept.later = copy.deepcopy(model)
            stop_after(stop, step)
    assert kept.pair[1] is kept.best
    told = [(key, values(each["model"]), each["step"]) for key, each in snapshots.items()]
    return (values(model, kept.best, kept.later), kept.pair[0], told), run.last_resume


def growing(make: Callable[[], Any]) -> Callable[[Path, int | None], Any]:
    def train(directory: Path, stop: int | None) -> Any:
        model, optimizer = model_and_optimizer()
        pool = make()
        with begin(directory, {"model": model, "optimizer": optimizer}) as run:
            for step in run.steps(12):
                update(model, optimizer, pool[step % len(pool)] if pool else None)
                if step % 2 == 1:
                    pool.append(copy.deepcopy(model))
                stop_after(stop, step)
        return values(model, *pool), run.last_resume

    return train


def sliding(directory: Path, stop: int | None) -> Any:
    model, optimizer = model_and_optimizer()
    pool = [copy.deepcopy(model) for _ in range(3)]
    with begin(directory, {"model": model, "optimizer": optimizer}) as run:
        for step in run.steps(12):
            update(model, optimizer, pool[step % 3])
            if step % 2:
                pool.pop(0)
                pool.append(copy.deepcopy(model))
            if step == 7:
                pool = [*reversed(pool)]
            stop_after(stop, step)
    return values(model, *pool), run.last_resume


def with_optimizer(directory: Path, stop: int | None) -> Any:
    """A twin that trains, with an optimizer of its own."""
    model, optimizer = model_and_optimizer()
    twin = driver = None
    with begin(directory, {"model": model, "optimizer": optimizer}) as run:
        for step in run.steps(12):
            update(model, optimizer)
            if step == 2:
                twin = copy.deepcopy(model)
                driver = torch.optim.SGD(twin.parameters(), lr=0.05, momentum=0.8)
            if twin is not None:
                update(twin, driver, model)
            stop_after(stop, step)
    return values(model, twin), run.last_resume


def sharing_layers(directory: Path, stop: int | None) -> Any:
    """The copy uses the model's first layer, which learns."""
    model, optimizer = model_and_optimizer()
    probe = None
    with begin(directory, {"model": model, "optimizer": optimizer}) as run:
        for step in run.steps(12):
            update(model, optimizer, probe)
            if step in (2, 8):
                probe = copy.deepcopy(model)
                probe[0] = model[0]
            stop_after(stop, step)
    assert probe is not None
    assert probe[0] is model[0]
    return values(model, probe), run.last_resume


def not_handed_over(directory: Path, stop: int | None) -> Any:
    model, optimizer = model_and_optimizer()
    teacher, best, weights = copy.deepcopy(model), None, [0.0]
    with begin(directory, {"weights": weights}) as run:
        for step in run.steps(12):
            update(model, optimizer, best or teacher)
            weights[0] += float(model[0].bias.detach().sum())
            if step % 4 == 1:
                best = copy.deepcopy(model)
            if step == 6:
                best, teacher = teacher, best
            stop_after(stop, step)
    return (values(model, teacher, best), weights), run.last_resume


def swapped(directory: Path, stop: int | None) -> Any:
    """The model is replaced by a copy of the best one, and the two are swapped."""
    model, optimizer = model_and_optimizer()
    best, total = copy.deepcopy(model), [0.0]
    with begin(directory, {"model": model, "optimizer": optimizer, "total": total}) as run:
        for step in run.steps(12):
            update(run["model"], optimizer, best)
            total[0] += (model(torch.ones(1, 3)) + best(torch.ones(1, 3))).item()
            if step == 3:
                model = copy.deepcopy(best)
            if step in (5, 8):
                model, best = best, model
            stop_after(stop, step)
    return (values(run["model"], model, best), total), run.last_resume


class Average:
    """An average of weights of the script's own class, with a model in it."""

    def __init__(self, model: Any) -> None:
        self.count, self.model, self.shadow = 0, copy.deepcopy(model), {}

    def update(self, model: Any) -> None:
        self.count += 1
        for name, each in model.state_dict().items():
            self.shadow[name] = self.shadow.get(name, 0) * 0.5 + each.clone()
        self.model.load_state_dict(self.shadow)


def of_own_class(directory: Path, stop: int | None) -> Any:
    model, optimizer = model_and_optimizer()
    average, best = Average(model), None
    with begin(directory, {"model": model, "optimizer": optimizer}) as run:
        for step in run.steps(12):
            update(model, optimizer, best and best.model)
            average.update(model)
            if step % 3 == 1:
                best = copy.deepcopy(average)
            stop_after(stop, step)
    assert best is not None
    shadows = [each.tolist() for each in best.shadow.values()]
    return (values(model, average.model, best.model), best.count, shadows), run.last_resume


@pytest.mark.parametrize(
    "train",
    [
        best_of_all,
        kept_in_attributes,
        growing(list),
        growing(collections.deque),
        growing(lambda: collections.deque(maxlen=3)),
        sliding,
        with_optimizer,
        sharing_layers,
        not_handed_over,
        swapped,
        of_own_class,
    ],
    ids=lambda each: each.__qualname__.partition(".")[0],
)
@pytest.mark.parametrize("at", [(4,), (9,), (3, 8)], ids=str)
def test_a_copy_comes_back(train: Any, at: tuple[int, ...], tmp_path: Path):
    check_exact(train, tmp_path, *at)


def verdict(train: Callable[[Path, int | None], Any], directory: Path, at: int = 4) -> str:
    with pytest.raises(Interrupted):
        train(directory, at)
    report = train(directory, None).last_resume
    return report.verdict


def test_one_of_another_size_is_named_at_the_first_save(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    def train(directory: Path, stop: int | None) -> Any:
        model, optimizer = model_and_optimizer()
        larger, count = None, [0]
        with begin(directory, {"model": model, "optimizer": optimizer}) as run:
            for step in run.steps(6):
                count[0] += larger is not None
                if step == 1:
                    larger = torch.nn.Linear(5, 5)
                stop_after(stop, step)
        return run

    assert verdict(train, tmp_path) == "exact but for: larger"
    first = next(each for each in caplog.messages if "larger" in each)
    assert first.startswith("not saved: larger is a Linear made in the loop")


def test_a_second_name_of_one_that_is_lost_is_lost_with_it(tmp_path: Path):
    def train(directory: Path, stop: int | None) -> Any:
        model, optimizer = model_and_optimizer()
        larger, same = None, None
        with begin(directory, {"model": model, "optimizer": optimizer}) as run:
            for step in run.steps(6):
                assert larger is same
                if step == 1:
                    larger = same = torch.nn.Linear(5, 5)
                stop_after(stop, step)
        return run

    assert verdict(train, tmp_path) == "exact but for: larger, same"


def test_one_that_lies_in_memory_of_the_model_is_named(tmp_path: Path):
    def train(directory: Path, stop: int | None) -> Any:
        model, optimizer = model_and_optimizer()
        view, pool = None, []
        with begin(directory, {"model": model, "optimizer": optimizer}) as run:
            for step in run.steps(6):
                if step == 1:
                    view = copy.deepcopy(model)
                    view[0].weight.data = model[0].weight.data
                if step == 2:
                    pool.append(torch.nn.Conv1d(1, 1, 1))
                stop_after(stop, step)
        assert view is not model
        return run

    assert verdict(train, tmp_path) == "exact but for: view, pool"


def test_what_is_made_before_an_inner_loop_is_filled(tmp_path: Path):
    class Meter:
        def __init__(self) -> None:
            self.total = 0.0

    class Trainer:
        meter: Any

        def epoch(self, run: Any, stop: int | None) -> None:
            self.meter = Meter()
            for batch in run.batches([1.0, 2.0, 3.0]):
                self.meter.total += batch
                stop_after(stop, run.step)

    def train(directory: Path, stop: int | None) -> Any:
        trainer, totals = Trainer(), []
        with begin(directory) as run:
            for _ in run.epochs(4):
                trainer.epoch(run, stop)
                totals.append(trainer.meter.total)
        return totals, run.last_resume

    expected, found = both_ways(train, tmp_path, 4, 8)
    assert found[0] == expected[0]
    assert found[1].verdict == "exact"


class Meter:
    def __init__(self) -> None:
        self.total = 0.0


def test_what_is_empty_before_an_inner_loop_holds_objects_after_a_resume(tmp_path: Path):
    """As registries of meters do, of which each holds those of one epoch."""

    def train(directory: Path, stop: int | None) -> Any:
        first, registry, active, sums = Meter(), {}, {}, []
        with begin(directory) as run:
            for _ in run.epochs(3):
                if "train" not in registry:
                    registry["train"] = {}
                active["train"] = registry["train"]
                for batch in run.batches([1.0, 2.0, 3.0]):
                    for each in active.values():
                        each.setdefault("loss", copy.deepcopy(first)).total += batch
                    stop_after(stop, run.step)
                sums.append(registry["train"]["loss"].total)
                registry["train"] = {}
        return sums, run.last_resume

    (expected, _), (found, report) = both_ways(train, tmp_path, 2, 5)
    assert expected == [6.0, 6.0, 6.0]
    assert found == expected or report.verdict != "exact"


@pytest.mark.parametrize("kind", [list, dict, tuple])
def test_nothing_is_left_in_a_container_of_what_did_not_come_back(kind: Any, tmp_path: Path):
    def train(stop: int | None) -> Any:
        first, pool = Meter() if stop is not None else None, kind()
        with begin(tmp_path) as run:
            for step in run.steps(8):
                more = copy.deepcopy(first)
                if more is not None:
                    pool = {**pool, str(step): more} if kind is dict else kind([*pool, more])
                stop_after(stop, step)
        return pool, run.last_resume

    with pytest.raises(Interrupted):
        train(4)
    pool, report = train(None)
    assert len(pool) == 0
    assert report.verdict.startswith("not exact: ")


def test_a_rollback_makes_it_again(tmp_path: Path):
    model, optimizer = model_and_optimizer()
    pool, sizes = [], []
    policy = every_batch(on_divergence="rollback")
    with begin(tmp_path, {"model": model, "optimizer": optimizer}, checkpointing=policy) as run:
        for step in run.steps(6):
            update(model, optimizer, pool[-1] if pool else None)
            pool.append(copy.deepcopy(model))
            sizes.append(len(pool))
            run.log(loss=float("nan") if step == 3 and not run.rollbacks else 1.0)
    assert run.rollbacks == 1
    assert len(pool) == len(sizes) == 6
    assert values(pool[-1]) == values(model)


KILLED = """
import copy, os, signal, sys
import numpy as np, torch
from sklearn.base import clone
from sklearn.linear_model import SGDRegressor
from holdfast import Checkpointing, Run, Write

torch.manual_seed(0)
stop = int(sys.argv[2]) if len(sys.argv) > 2 else None
model = torch.nn.Linear(3, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
base, fitted, best_model, pool = SGDRegressor(random_state=0), None, None, {}
x = np.random.default_rng(0).normal(size=(20, 3))
policy = Checkpointing(mode="disk", save_on="batch_end", max_to_keep=3, write=Write(background=False))
with Run(sys.argv[1], {"model": model, "optimizer": optimizer}, checkpointing=policy) as run:
    for step in run.steps(10):
        loss = (model(torch.randn(8, 3)) - 1).square().mean()
        if best_model is not None:
            loss = loss + (model(torch.ones(1, 3)) - best_model(torch.ones(1, 3)).detach()).square().mean()
        optimizer.zero_grad(); loss.backward(); optimizer.step()
        if step % 3 == 1:
            best_model = copy.deepcopy(model)
            pool[step] = best_model
            fitted = clone(base)
        if fitted is not None:
            fitted.partial_fit(x, x.sum(1))
        if step == stop:
            os.kill(os.getpid(), signal.SIGKILL)
print(run.last_resume and run.last_resume.verdict)
print(model.weight.tolist(), best_model.weight.tolist(), {k: m.weight.tolist() for k, m in pool.items()}, fitted.coef_)
print(pool[7] is best_model)
"""


@pytest.mark.parametrize("stops", [(2,), (5, 8)], ids=str)
def test_a_killed_script_has_its_copies_again(stops: tuple[int, ...], tmp_path: Path):
    pytest.importorskip("sklearn")
    expected, verdict_, found = killed_and_resumed(written(tmp_path, KILLED), *stops)
    assert (verdict_, found) == ("exact", expected)
