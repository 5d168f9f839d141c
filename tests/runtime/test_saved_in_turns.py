"""`run.save(name)` in the body of a loop: at its end the turn is done; in its middle no resume is exact, and that is said."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import holdfast
from holdfast import Checkpointing, Resume, Run

logger = logging.getLogger("script")
SELDOM = Checkpointing(save_on="batch_end", every_n=1000)
Body = Callable[[Run, Any, "Training"], None]


class Training:
    """What a turn changes."""

    def __init__(self) -> None:
        self.noise, self.seen = np.random.default_rng(0), list[float]()

    def step(self) -> None:
        self.seen.append(float(self.noise.normal()))


def keep(run: Run, name: str) -> Path:
    return run.save(name)


def at_end(run: Run, step: int, training: Training) -> None:
    training.step()
    run.log(loss=training.seen[-1])
    if step == 3:
        run.save(f"at{step}")
        logger.info("saved at %d", step)
    print("step", step, len(training.seen))


def by_function(run: Run, step: int, training: Training) -> None:
    training.step()
    if step == 3:
        keep(run, "at3")


def in_middle(run: Run, step: int, training: Training) -> None:
    training.step()
    if step == 3:
        run.save("at3")
    training.step()


def before_log(run: Run, step: int, training: Training) -> None:
    training.step()
    if step == 3:
        run.save("at3")
    run.log(loss=training.seen[-1])


def at_start(run: Run, step: int, training: Training) -> None:
    if step == 3:
        run.save("at3")
    training.step()


def in_inner_loop(run: Run, step: int, training: Training) -> None:
    for part in range(2):
        training.step()
        if step == 3 and part == 0:
            run.save("at3")


def trained(directory: Path, loop: Callable[[Run, Training], None], resume: Any = True) -> tuple[Any, Run]:
    training = Training()
    with Run(
        directory,
        {"training": {"seen": training.seen, "noise": training.noise}},
        checkpointing=SELDOM,
        resume=resume,
    ) as run:
        loop(run, training)
    return (training.seen, [*run.results], run.step), run


def over_steps(body: Body) -> Callable[[Run, Training], None]:
    def loop(run: Run, training: Training) -> None:
        for step in run.steps(8):
            body(run, step, training)

    return loop


def over_batches(body: Body) -> Callable[[Run, Training], None]:
    def loop(run: Run, training: Training) -> None:
        for _ in run.epochs(2):
            for batch in run.batches([0, 3, 1]):
                body(run, batch if run.epoch else 0, training)

    return loop


@pytest.mark.parametrize("over", [over_steps, over_batches])
@pytest.mark.parametrize("body", [at_end, by_function])
def test_at_the_end_of_a_turn_it_is_done(over: Any, body: Body, tmp_path: Path):
    expected, _ = trained(tmp_path / "other", over(body))
    trained(tmp_path / "run", over(body))
    found, run = trained(tmp_path / "run", over(body), Resume("at3"))
    assert run.last_resume is not None
    assert (found, run.last_resume.verdict) == (expected, "exact")


@pytest.mark.parametrize("over", [over_steps, over_batches])
@pytest.mark.parametrize("body", [in_middle, before_log, in_inner_loop])
def test_in_the_middle_of_a_turn_no_resume_is_exact(
    over: Any, body: Body, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    trained(tmp_path, over(body))
    (warning,) = [
        each.getMessage()
        for each in caplog.records
        if each.levelname == "WARNING" and "middle" in each.getMessage()
    ]
    assert "save at the end of a turn" in warning
    _, run = trained(tmp_path, over(body), Resume("at3"))
    assert run.last_resume is not None
    assert "is in the middle of a turn of run." in run.last_resume.verdict
    assert "test_saved_in_turns.py, line" in run.last_resume.verdict


def test_at_the_beginning_of_a_step_it_is_done_then(tmp_path: Path):
    expected, _ = trained(tmp_path / "other", over_steps(at_start))
    trained(tmp_path / "run", over_steps(at_start))
    found, run = trained(tmp_path / "run", over_steps(at_start), Resume("at3"))
    assert run.last_resume is not None
    assert (found, run.last_resume.verdict) == (expected, "exact")


def test_a_batch_that_was_taken_is_not_given_again(tmp_path: Path):
    trained(tmp_path, over_batches(at_start))
    _, run = trained(tmp_path, over_batches(at_start), Resume("at3"))
    assert run.last_resume is not None
    assert "is never done" in run.last_resume.verdict


def saved_last(run: Run, training: Training) -> None:
    for epoch in run.epochs(4):
        for _ in run.batches([1, 2]):
            training.step()
        training.step()
        run.log(validated=training.seen[-1])
        if epoch == 1:
            run.save("best")


def saved_first(run: Run, training: Training) -> None:
    for epoch in run.epochs(4):
        for _ in run.batches([1, 2]):
            training.step()
        if epoch == 1:
            run.save("best")
        training.step()


def saved_between(run: Run, training: Training) -> None:
    for epoch in run.epochs(4):
        for _ in run.batches([1, 2]):
            training.step()
        training.step()
        if epoch == 1:
            run.save("best")
        training.step()


@pytest.mark.parametrize(
    ("loop", "is_exact"), [(saved_last, True), (saved_first, True), (saved_between, False)]
)
def test_after_the_batches_of_an_epoch(loop: Any, is_exact: bool, tmp_path: Path):
    expected, _ = trained(tmp_path / "other", loop)
    trained(tmp_path / "run", loop)
    found, run = trained(tmp_path / "run", loop, Resume("best"))
    assert run.last_resume is not None
    assert (found == expected, run.last_resume.verdict == "exact") == (is_exact, is_exact)


def test_between_two_loops_nothing_is_under_way(tmp_path: Path):
    def loop(run: Run, training: Training) -> None:
        for _ in run.steps(3):
            training.step()
        run.save("between")
        training.step()

    trained(tmp_path, loop)
    _, run = trained(tmp_path, loop, Resume("between"))
    assert run.last_resume is not None
    assert "middle" not in run.last_resume.verdict
    assert holdfast.open(tmp_path / "between.ckpt.mml").record.name == "between"
