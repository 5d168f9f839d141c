"""`holdfast.resumable`: what a function makes is noticed, handed over under its names, and resumes with the same verdicts."""

from __future__ import annotations

import asyncio
import inspect
import logging
import re
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest

import holdfast
from holdfast import Checkpointing, Every, Resume, current_run, resumable
from holdfast.errors import DivergenceError, UsageError

torch = pytest.importorskip("torch")

Linear: Any = torch.nn.Linear
SGD: Any = torch.optim.SGD
EVERY_BATCH = {"when": Every("batch_end") | Every("epoch_end")}


def saving(**more: Any) -> Checkpointing:
    return Checkpointing(**{**EVERY_BATCH, **more})


def data() -> Any:
    x = torch.arange(24.0).view(12, 2) / 12
    return torch.utils.data.DataLoader(
        torch.utils.data.TensorDataset(x, x.sum(1, keepdim=True)), 3, shuffle=True
    )


def step(model: Any, optimizer: Any, x: Any, y: Any) -> float:
    optimizer.zero_grad()
    loss = (model(x) - y).square().mean()
    loss.backward()
    optimizer.step()
    return loss.item()


def names(caplog: pytest.LogCaptureFixture) -> str:
    """What the last line of a function says that it hands over."""
    lines = [each.getMessage() for each in caplog.records if " hands over: " in each.getMessage()]
    return lines[-1].partition(" hands over: ")[2]


@pytest.fixture(autouse=True)
def _logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "holdfast")


# --- it resumes -----------------------------------------------------------------------------------


def script(directory: Path, cut: int | None = None, leave: str = "") -> tuple[Any, ...]:
    """Trains for four epochs; raises after `cut` updates; leaves the loop in the third epoch."""

    @resumable(directory, checkpointing=saving())
    def train(rate: float, *, epochs: int) -> tuple[Any, ...]:
        torch.manual_seed(0)
        loader, model = data(), torch.nn.Sequential(Linear(2, 4), torch.nn.Dropout(0.2), Linear(4, 1))
        optimizer = SGD(model.parameters(), rate, momentum=0.9)
        schedule = torch.optim.lr_scheduler.StepLR(optimizer, 1, gamma=0.5)
        losses, best, count = [], 9.0, 0
        run = current_run()
        for epoch in run.epochs(epochs):
            for x, y in run.batches(loader):
                losses.append(step(model, optimizer, x, y))
                count += 1
                if count == cut:
                    raise InterruptedError
            best = min(best, losses[-1])
            schedule.step()
            if epoch == 2 and leave == "break":
                break
            if epoch == 2 and leave == "return":
                return [*losses, best, optimizer.param_groups[0]["lr"]], verdict(run)
        best = best * 2  # not to be done twice
        return [*losses, best, optimizer.param_groups[0]["lr"], count], verdict(run)

    return train(0.05, epochs=4)


def verdict(run: holdfast.Run) -> str:
    return "" if run.last_resume is None else str(run.last_resume.verdict)


@pytest.mark.medium
@pytest.mark.parametrize("cut", [1, 4, 6, 15])
def test_a_function_that_was_interrupted_returns_what_it_would_have(tmp_path, cut):
    wanted, _ = script(tmp_path / "uninterrupted")
    with pytest.raises(InterruptedError):
        script(tmp_path / "cut", cut)
    found, said = script(tmp_path / "cut")
    assert found == wanted
    assert said == ("" if cut == 1 else "exact")  # the first batch was not done


@pytest.mark.parametrize("leave", ["", "break"])
def test_called_again_it_trains_nothing_more_and_returns_the_same(tmp_path, leave, monkeypatch):
    first, _ = script(tmp_path, leave=leave)
    monkeypatch.setattr(SGD, "step", None)
    assert script(tmp_path, leave=leave) == (first, "exact")


def test_called_again_after_a_return_in_its_loop_it_returns_the_same(tmp_path):
    first, _ = script(tmp_path, leave="return")
    assert script(tmp_path, leave="return") == (first, "exact")


@pytest.mark.parametrize("ending", ["raise", "finally"])
def test_an_error_on_its_way_through_the_function_does_not_end_the_run_for_good(tmp_path, ending):
    def train(fails: bool) -> int:
        @resumable(tmp_path, checkpointing=saving())
        def work() -> int:
            model = Linear(2, 1)
            optimizer = SGD(model.parameters(), 0.1)
            done = 0
            try:
                for _ in current_run().steps(6):
                    step(model, optimizer, torch.ones(1, 2), torch.ones(1, 1))
                    done += 1
                    if fails and done == 4:
                        raise InterruptedError
            except InterruptedError:
                raise
            finally:
                done += 0
            return done

        return work()

    with pytest.raises(InterruptedError):
        train(fails=True)
    assert train(fails=False) == 6


def test_what_goes_wrong_as_the_loop_is_left_surfaces(tmp_path):
    """Python drops what is raised while it lets go of an iterator."""

    @resumable(tmp_path, checkpointing=Checkpointing(save_on="phase_end", on_divergence="stop"))
    def train() -> None:
        model = Linear(2, 1)
        for _ in current_run().steps(3):
            model.weight.data.fill_(float("nan"))
            break

    with pytest.raises(DivergenceError):
        train()


def test_a_run_left_in_another_way_resumes_from_its_newest_checkpoint(tmp_path):
    """Its iterator is kept, so nothing tells that the loop has been left."""

    @resumable(tmp_path, checkpointing=saving())
    def train(limit: int) -> int:
        model, count = Linear(2, 1), 0
        turns = current_run().steps(6)
        for _ in turns:
            assert model is not None
            count += 1
            if count == limit:
                break
        return count

    assert train(3) == 3
    assert train(6) == 6


def test_it_rolls_back(tmp_path):
    rates = []

    @resumable(
        tmp_path,
        checkpointing=saving(on_divergence="rollback"),
        on_rollback=lambda run: halve(run["optimizer"]),
    )
    def train() -> float:
        torch.manual_seed(0)
        model = Linear(2, 1)
        optimizer = SGD(model.parameters(), 0.1)
        for at in current_run().steps(6):
            x = torch.ones(1, 2) * (float("nan") if at == 3 and not current_run().rollbacks else 1)
            current_run().log(loss=step(model, optimizer, x, torch.ones(1, 1)))
        return optimizer.param_groups[0]["lr"]

    def halve(optimizer: Any) -> None:
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.param_groups[0]["lr"] /= 2

    assert train() == 0.05
    assert rates == [0.1]


# --- what is noticed ------------------------------------------------------------------------------


class Trainer:
    def __init__(self) -> None:
        self.model = torch.nn.Sequential(Linear(2, 2), Linear(2, 1))
        self.head = self.model[1]  # a part
        self.optimizers = [SGD(self.model[0].parameters(), 0.1), SGD(self.head.parameters(), 0.1)]
        self.loader = data()
        self.criterion = torch.nn.MSELoss()  # has no state

    def fit(self) -> None:
        for _ in current_run().steps(1):
            pass


def test_attributes_and_items_are_noticed_and_parts_and_loaders_are_not(tmp_path, caplog):
    resumable(tmp_path)(Trainer().fit)()
    assert names(caplog) == "self.model (Sequential), self.optimizers.0 (SGD), self.optimizers.1 (SGD)"
    (saved,) = holdfast.scan(tmp_path)[-1:]
    assert {"self.model", "self.optimizers.0", "self.optimizers.1"} <= {*holdfast.load(saved.path)}


teacher, unrelated = Linear(2, 1), Linear(2, 1)


def teach() -> Any:
    return teacher


class Student(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = Linear(2, 1)


def test_variables_of_functions_down_to_the_loop_and_globals_that_they_mention_are_noticed(tmp_path, caplog):
    closed_over = torch.optim.lr_scheduler.StepLR(SGD(Linear(1, 1).parameters(), 0.1), 1)

    @resumable(tmp_path)
    def train() -> None:
        student = Student()
        inner = student.inner
        loop(SGD(inner.parameters(), 0.1), student)
        assert closed_over is not None

    def loop(optimizer: Any, net: Any) -> None:
        for _ in current_run().steps(1):
            net.inner(torch.ones(1, 2))
            assert teach() is not None

    around = Linear(1, 1)  # of the caller
    train()
    assert around is not None
    assert names(caplog) == "optimizer (SGD), net (Student), closed_over (StepLR), teacher (Linear)"


def test_two_objects_of_one_name_are_both_noticed(tmp_path, caplog):
    @resumable(tmp_path)
    def train() -> None:
        model = Linear(2, 1)
        loop(Linear(1, 1))
        assert model is not None

    def loop(model: Any) -> None:
        for _ in current_run().steps(1):
            assert model is not None

    train()
    here = "test_two_objects_of_one_name_are_both_noticed.<locals>."
    assert names(caplog) == f"model (Linear), {here}train.model (Linear)"


def test_where_nothing_is_noticed_it_says_what_to_do(tmp_path):
    @resumable(tmp_path)
    def train() -> None:
        weights = [0.0]
        for _ in current_run().steps(1):
            weights[0] += 1

    with pytest.raises(
        UsageError, match=r"no model, optimizer .* within reach of .*train\(\).*Make them before it"
    ):
        train()
    assert not [*tmp_path.iterdir()]


def test_what_is_made_only_in_the_loop_is_named_and_no_resume_is_exact(tmp_path, caplog):
    @resumable(tmp_path, checkpointing=saving())
    def train(cut: int | None = None) -> str:
        model, update = Linear(2, 1), None
        for at in current_run().steps(4):
            if update is None:
                # Where no run looks; elsewhere it would be a variable.
                update = Mock(side_effect=SGD(model.parameters(), 0.1, momentum=0.9).step)
            model(torch.ones(1, 2)).sum().backward()
            update()
            if at == cut:
                raise InterruptedError
        return verdict(current_run())

    with pytest.raises(InterruptedError):
        train(2)
    assert re.search(
        r"an optimizer \(SGD\) trains .*: make it in .*train\(\) before the loop begins", caplog.text
    )
    assert train().startswith("not exact: ")


# --- the loop -------------------------------------------------------------------------------------


def test_a_loop_that_is_not_the_runs_is_refused_at_its_first_step(tmp_path):
    model = Linear(2, 1)
    before = model.weight.detach().clone()

    @resumable(tmp_path)
    def train() -> None:
        optimizer = SGD(model.parameters(), 0.1)
        for _ in range(3):
            for x, y in data():
                step(model, optimizer, x, y)

    with pytest.raises(
        UsageError, match=r"SGD\) has stepped in .*train\(\) outside .*for epoch in run.epochs\(n\)"
    ):
        train()
    assert torch.equal(model.weight, before)
    step(
        model, SGD(model.parameters(), 0.1), torch.ones(1, 2), torch.ones(1, 1)
    )  # outside of it all is as ever


def test_several_loops_count_on_but_not_after_one_that_was_left_by_a_break(tmp_path):
    @resumable(tmp_path / "counted", checkpointing=saving())
    def train(cut: int | None = None) -> list[int]:
        model, done = Linear(2, 1), []
        for total in (2, 5):
            for at in current_run().steps(total):
                done.append(at)
                assert model is not None
                if at == cut:
                    raise InterruptedError
        return done

    with pytest.raises(InterruptedError):
        train(3)
    assert train() == [0, 1, 2, 3, 4]

    @resumable(tmp_path / "left", checkpointing=saving())
    def leave() -> None:
        model = Linear(2, 1)
        for _ in current_run().steps(2):
            assert model is not None
            break
        for _ in current_run().steps(5):
            pass

    for _ in range(2):
        with pytest.raises(UsageError, match="was left by a `break`, which ends its run"):
            leave()


def test_a_function_without_a_loop_is_told_that_nothing_was_saved(tmp_path, caplog):
    assert resumable(tmp_path)(lambda: 5)() == 5
    assert "has ended without a loop of its run, so nothing was saved" in caplog.text


def test_before_its_loop_the_run_says_that_it_has_not_begun(tmp_path):
    @resumable(tmp_path)
    def train() -> None:
        model, run = Linear(2, 1), current_run()
        assert isinstance(run, holdfast.Run)
        assert "before its loop" in repr(run)
        assert not hasattr(run, "no_such_thing")
        for early in (
            lambda: run.log(loss=1.0),
            lambda: run.save("a"),
            lambda: run.step,
            lambda: run.last_resume,
            lambda: next(run.batches([1])),
        ):
            with pytest.raises(UsageError, match=r"train\(\) begins with its loop"):
                early()
        with pytest.raises(UsageError, match="names of variables"):
            run.ignore(5)  # pyright: ignore[reportArgumentType]
        run.ignore("counted")
        counted = 0
        for _ in run.steps(2):
            counted += 2
        assert "Run of 'train'" in repr(run)
        with pytest.raises(AttributeError, match="no attribute 'no_such_thing'"):
            _ = run.no_such_thing  # pyright: ignore[reportAttributeAccessIssue]
        assert model is not None

    train()
    assert "variables" not in holdfast.load(holdfast.scan(tmp_path)[-1].path)


# --- the decorator --------------------------------------------------------------------------------


class Method:
    def __init__(self) -> None:
        self.model = Linear(2, 1)

    def fit(self, n: int) -> int:
        """Trains."""
        return len([*current_run().steps(n)])


def generates() -> Any:
    yield 1


async def waits() -> None:
    await asyncio.sleep(0)


@pytest.mark.parametrize(
    ("decorated", "match"),
    [
        (generates, "generates is a generator function"),
        (waits, "waits is an async function"),
        (Method, "Method is a class"),
        (classmethod(lambda cls: None), "is a classmethod: put it below @classmethod"),
        (5, "5 is not a function"),
    ],
)
def test_what_cannot_be_a_function_that_trains_is_refused_when_decorated(tmp_path, decorated, match):
    with pytest.raises(UsageError, match=match):
        resumable(tmp_path)(decorated)


def test_forgotten_parentheses_are_noticed_at_once():
    with pytest.raises(UsageError, match=r"called with a directory first: @holdfast.resumable\("):
        resumable(generates)  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize(
    ("wrong", "match"),
    [
        ({"directory": ""}, "directory"),
        ({"label": "a/b"}, "label"),
        ({"variables": "yes"}, "variables"),
        ({"resume": None}, "resume must be True, False"),
        ({"on_rollback": 5}, "on_rollback"),
        ({"allow_reread": "no"}, "allow_reread"),
        ({"checkpointing": Checkpointing(mode="memory")}, "saves to disk"),
    ],
)
def test_arguments_without_meaning_are_refused_when_it_decorates(tmp_path, wrong, match):
    with pytest.raises(UsageError, match=match):
        resumable(**{"directory": tmp_path, **wrong})


def test_it_looks_like_the_function_and_works_on_methods(tmp_path):
    class Decorated(Method):
        fit = resumable(tmp_path)(Method.fit)

    assert Decorated.fit.__name__ == "fit"
    assert Decorated.fit.__doc__ == "Trains."
    assert str(inspect.signature(Decorated.fit)) == "(self, n: 'int') -> 'int'"
    assert Decorated().fit(3) == 3
    assert Decorated().fit(5) == 2


def test_there_is_a_current_run_only_inside_and_the_innermost_counts(tmp_path):
    with pytest.raises(UsageError, match="no resumable function is being called"):
        current_run()

    @resumable(tmp_path / "outer")
    def outer() -> None:
        mine = current_run()
        inner()
        assert current_run() is mine
        elsewhere: list[Callable[[], Any] | BaseException] = []
        thread = threading.Thread(target=lambda: elsewhere.append(refused()))
        thread.start()
        thread.join()
        assert isinstance(elsewhere[0], UsageError)
        model = Linear(2, 1)
        for _ in mine.steps(1):
            assert model is not None

    @resumable(tmp_path / "inner")
    def inner() -> None:
        model = Linear(2, 1)
        for _ in current_run().steps(1):
            assert model is not None

    def refused() -> UsageError:
        with pytest.raises(UsageError, match="no resumable function") as caught:
            current_run()
        return caught.value

    outer()
    assert holdfast.scan(tmp_path / "outer")
    assert holdfast.scan(tmp_path / "inner")


def test_resume_says_from_where(tmp_path):
    @resumable(tmp_path, checkpointing=saving(max_to_keep=9), resume=Resume("train_epoch0_batch1"))
    def resumed() -> list[int]:
        return train()

    def train() -> list[int]:
        model = Linear(2, 1)
        done = list(current_run().steps(4))
        assert model is not None
        return done

    assert resumable(tmp_path, checkpointing=saving(max_to_keep=9))(train)() == [0, 1, 2, 3]
    assert resumed() == [2, 3]
    assert resumable(tmp_path / "other", resume=False)(train)() == [0, 1, 2, 3]
