"""At the first step after a resume the live objects are compared with the checkpoint, digest against digest."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest
import torch

from holdfast import Checkpointing, Resume, Run, Write
from holdfast.errors import StateMismatchError
from holdfast.runtime import ResumeReport

STEPS, CUT = 6, 4

Update = Callable[[Run], None]


def policy(**options: Any) -> Checkpointing:
    return Checkpointing(save_on="batch_end", write=Write(durability="process"), **options)


def go(
    directory: Path,
    objects: dict[str, Any],
    update: Update,
    *,
    cut: int | None = None,
    spoil: Update = lambda run: None,
    resume: Any = True,
    **options: Any,
) -> Run:
    """Trains; `spoil` stands inside the block, before the loop."""
    with (
        suppress(InterruptedError),
        Run(directory, objects, checkpointing=policy(**options), resume=resume) as run,
    ):
        spoil(run)
        for step in run.steps(STEPS):
            if step == cut:
                raise InterruptedError
            update(run)
    return run


def report_of(run: Run) -> ResumeReport:
    assert run.last_resume is not None
    return run.last_resume


def made(seed: int = 0, lr: float = 0.1) -> dict[str, Any]:
    torch.manual_seed(seed)
    model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4), torch.nn.Linear(4, 1))
    optimizer = torch.optim.Adam(model.parameters(), lr)
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, 2, 0.5)
    return {"model": model, "optimizer": optimizer, "schedule": schedule}


def train(run: Run) -> None:
    run["optimizer"].zero_grad()
    run["model"](torch.randn(5, 3)).square().mean().backward()
    run["optimizer"].step()
    run["schedule"].step()


@pytest.mark.parametrize(
    ("spoil", "named"),
    [
        (lambda run: torch.nn.init.ones_(run["model"][0].weight), "'model' is not as it was saved: model/0.weight"),
        (lambda run: run["model"][1].running_mean.add_(1), "'model' is not as it was saved: model/1.running_mean"),
        (lambda run: run["optimizer"].state.clear(), "'optimizer' is not as it was saved: optimizer/state"),
        (lambda run: run["optimizer"].param_groups[0].update(eps=1), "optimizer/param_groups/0/eps"),
        (lambda run: setattr(run["schedule"], "gamma", 1), "'schedule' is not as it was saved: schedule/gamma"),
    ],
    ids=["weights", "buffer", "optimizer", "option", "schedule"],
)  # fmt: skip
def test_what_is_written_between_the_restore_and_the_first_step_is_named(tmp_path, spoil, named):
    def spoiling(run: Run) -> None:
        with torch.no_grad():
            spoil(run)

    go(tmp_path, made(), train, cut=CUT)
    report = report_of(go(tmp_path, made(), train, spoil=spoiling))
    assert report.verdict.startswith("not exact: ")
    assert named in report.verdict
    assert "changed before the first step" in report.verdict


def test_weights_written_again_with_their_own_values_are_no_difference(tmp_path):
    go(tmp_path, made(), train, cut=CUT)

    def rewrite(run: Run) -> None:
        run["model"].load_state_dict({name: each.clone() for name, each in run["model"].state_dict().items()})

    assert report_of(go(tmp_path, made(1), train, spoil=rewrite)).verdict == "exact"


def test_a_difference_in_a_large_array_is_found_wherever_it_is(tmp_path):
    big = 3 << 20
    go(tmp_path, {"x": np.zeros(big)}, lambda run: run["x"].__iadd__(1), cut=CUT)
    for index in (0, big // 2, big - 1):

        def spoil(run: Run, index: int = index) -> None:
            run["x"][index] += 1

        report = report_of(
            go(tmp_path, {"x": np.zeros(big)}, lambda run: None, spoil=spoil, resume="train_epoch0_batch3")
        )
        assert report.differences[0] == "'x' is not as it was saved: x changed before the first step", index


@pytest.mark.parametrize("saved", ["C", "F"])
@pytest.mark.parametrize("live", ["C", "F"])
def test_another_order_of_an_array_in_memory_is_named_and_does_not_hide_a_difference(tmp_path, saved, live):
    def array(order) -> dict[str, np.ndarray]:
        return {"x": np.asarray(np.arange(24.0).reshape(2, 3, 4), order=order)}

    def add(run: Run) -> None:
        run["x"][...] += 1

    def spoil(run: Run) -> None:
        run["x"][1, 0, 2] = -1

    go(tmp_path / "a", array(saved), add, cut=CUT)
    verdict = report_of(go(tmp_path / "a", array(live), add)).verdict
    is_other = saved != live
    assert verdict.startswith("not exact: 'x' has other strides than it had" if is_other else "exact")
    go(tmp_path / "b", array(saved), add, cut=CUT)
    assert report_of(go(tmp_path / "b", array(live), add, spoil=spoil)).verdict.startswith(
        "not exact: 'x' is not"
    )


def test_what_the_policy_leaves_out_is_told_once_and_not_compared(tmp_path):
    objects = {"x": np.zeros(2), "cache": np.zeros(2)}
    go(tmp_path, {**objects}, lambda run: None, cut=CUT, exclude="cache")
    report = report_of(
        go(tmp_path, {"x": np.zeros(2), "cache": np.ones(2)}, lambda run: None, exclude="cache")
    )
    assert report.differences == ("cache is not in the checkpoint, and was left as it was",)


def test_with_strict_false_only_what_did_not_fit_is_named(tmp_path):
    go(tmp_path, {"x": np.zeros(2), "y": np.zeros(2), "z": np.zeros(2)}, lambda run: None, cut=CUT)
    others = {"x": np.zeros(2), "y": np.zeros(3), "new": np.zeros(2)}
    report = report_of(go(tmp_path, others, lambda run: None, resume=Resume(strict=False)))
    assert len(report.differences) == 3, report.differences
    assert not [each for each in report.differences if "as it was saved" in each]

    def spoil(run: Run) -> None:
        run["x"] += 1

    go(tmp_path / "2", {"x": np.zeros(2), "y": np.zeros(2)}, lambda run: None, cut=CUT)
    others = {"x": np.zeros(2), "y": np.zeros(3)}
    spoiled = report_of(
        go(tmp_path / "2", others, lambda run: None, spoil=spoil, resume=Resume(strict=False))
    )
    assert "'x' is not as it was saved: x changed before the first step" in spoiled.differences


def test_an_overridden_option_is_named_as_such_and_the_rest_is_compared(tmp_path):
    go(tmp_path, made(), train, cut=CUT)
    report = report_of(go(tmp_path, made(lr=0.3), train, resume=Resume("train_epoch0_batch3", override="lr")))
    assert report.differences == ("the optimizer's lr was 0.1 and is 0.3 (override)",)

    def spoil(run: Run) -> None:
        next(iter(run["optimizer"].state.values()))["exp_avg"] += 1

    again = go(
        tmp_path, made(lr=0.3), train, spoil=spoil, resume=Resume("train_epoch0_batch3", override="lr")
    )
    assert [each for each in report_of(again).differences if "'optimizer' is not as it was saved" in each]


def test_nothing_is_drawn_and_nothing_changed_by_the_comparison(tmp_path):
    uninterrupted = go(tmp_path / "a", made(), train).state_digest()
    go(tmp_path / "b", made(), train, cut=CUT)
    again = go(tmp_path / "b", made(1), train)
    assert report_of(again).verdict == "exact"
    assert again.state_digest() == uninterrupted


def begin_as_one() -> tuple[dict[str, Any], Update, Callable[[Any], list[Any]]]:
    """A target network that begins as the network."""
    jnp = pytest.importorskip("jax.numpy")
    one = {"w": jnp.zeros(3)}

    def update(run: Run) -> None:
        run["network"] = {"w": run["network"]["w"] + 1}
        if run.step % 3 == 2:
            run["target"] = run["network"]

    return {"network": one, "target": one}, update, lambda value: np.asarray(value["w"]).tolist()


def lists_that_begin_as_one() -> tuple[dict[str, Any], Update, Callable[[Any], list[Any]]]:
    one = [0]

    def update(run: Run) -> None:
        run["network"] = [run["network"][0] + 1]
        if run.step % 3 == 2:
            run["target"] = run["network"]

    return {"network": one, "target": one}, update, list


@pytest.mark.parametrize(
    "begin", [pytest.param(begin_as_one, marks=pytest.mark.leaves_threads), lists_that_begin_as_one]
)
def test_objects_that_begin_as_one_and_part_later_come_back_apart_or_are_named(tmp_path, begin):
    objects, update, read = begin()
    uninterrupted = go(tmp_path / "a", objects, update)
    objects, update, read = begin()
    go(tmp_path / "b", objects, update, cut=CUT)
    objects, update, read = begin()
    again = go(tmp_path / "b", objects, update)
    ends = [[read(run[name]) for name in ("network", "target")] for run in (uninterrupted, again)]
    if report_of(again).verdict == "exact":
        assert ends[0] == ends[1]
    else:
        assert "is not as it was saved" in report_of(again).verdict


def test_tied_arrays_that_part_are_refused_or_named(tmp_path):
    def part(run: Run) -> None:
        run["b"] = run["a"] + 1

    one = np.zeros(2)
    go(tmp_path, {"a": one, "b": one}, part, cut=CUT)
    one = np.zeros(2)
    with pytest.raises(StateMismatchError, match="tied"):
        go(tmp_path, {"a": one, "b": one}, part)


class Buffer:
    """Of the script: it can be iterated, and saves itself, from a place that no run looks into."""

    def __init__(self) -> None:
        self.place = Mock(kept=[])

    def __iter__(self):
        return iter(self.place.kept)

    def state_dict(self) -> dict[str, Any]:
        return {"kept": list(self.place.kept)}

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        self.place.kept = list(saved["kept"])


@pytest.mark.parametrize("spoils", [False, True])
def test_an_object_that_can_be_iterated_is_compared_too_unless_it_loads_data(spoils, tmp_path):
    def update(run: Run) -> None:
        kept = run["buffer"].place.kept
        kept.append(len(kept))

    go(tmp_path, {"buffer": Buffer()}, update, cut=CUT)
    spoil: Update = (lambda run: run["buffer"].place.kept.clear()) if spoils else (lambda run: None)
    verdict = report_of(go(tmp_path, {"buffer": Buffer()}, update, spoil=spoil)).verdict
    assert verdict.startswith("not exact: 'buffer' is not as it was saved" if spoils else "exact")
