"""What a handler of the script's own class keeps comes back, though only a logger leads to it."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from holdfast import Checkpointing, Run, Write
from tests.support.interrupted import begin, both_ways, stop_after


class Crash(Exception):
    """Ends a run from within."""


class Losses(logging.Handler):
    """Keeps the numbers that are logged."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[float] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.found.append(float(record.getMessage()))


class Counting(logging.Filter):
    """Lets every second record pass."""

    def __init__(self) -> None:
        super().__init__()
        self.n = 0

    def filter(self, record: logging.LogRecord) -> bool:
        self.n += 1
        return self.n % 2 == 0


class Silent(Losses):
    """Keeps nothing, and has a lock, a level and a formatter as all have."""

    def emit(self, record: logging.LogRecord) -> None:
        self.setFormatter(logging.Formatter("%(message)s"))


@pytest.fixture
def logger():
    made = logging.getLogger("tests.handlers")
    made.setLevel(logging.INFO)
    made.propagate = False
    yield made
    made.handlers.clear()
    made.filters.clear()


def go(
    directory: Path, logger: logging.Logger, crash: int | None, *, ignore: str = "nothing"
) -> tuple[Run, float]:
    logger.handlers[:] = [Losses(), Silent(), logging.StreamHandler()]
    logger.handlers[2].setLevel(logging.CRITICAL)
    policy = Checkpointing(save_on="batch_end", write=Write(durability="process"))
    with Run(directory, {"weight": np.zeros(1)}, checkpointing=policy) as run:
        run.ignore(ignore)
        for step in run.steps(8):
            if step == crash:
                raise Crash
            logger.info("%f", step)
            run["weight"][:] += sum(logger.handlers[0].found)
    return run, float(run["weight"][0])


def test_it_comes_back(logger, tmp_path, caplog):
    _, expected = go(tmp_path / "other", logger, None)
    with pytest.raises(Crash):
        go(tmp_path / "runs", logger, 5)
    with caplog.at_level("INFO", "holdfast"):
        run, weight = go(tmp_path / "runs", logger, None)
    assert run.last_resume is not None
    assert (run.last_resume.verdict, weight) == ("exact", expected)
    [said] = [line for line in caplog.messages if line.startswith("resumed from")]
    assert said.endswith(": exact; variables put back: Losses.found")


def test_it_can_be_left_to_the_script(logger, tmp_path):
    with pytest.raises(Crash):
        go(tmp_path, logger, 5, ignore="Losses")
    run, _ = go(tmp_path, logger, None, ignore="Losses")
    assert run.last_resume is not None
    assert run.last_resume.verdict == "exact"


@pytest.mark.parametrize("on_handler", [True, False])
def test_what_a_filter_keeps_comes_back(on_handler, logger, tmp_path):
    def train(directory: Path, stop: int | None) -> Any:
        handler = Losses()
        logger.handlers[:], logger.filters[:] = [handler], []
        (handler if on_handler else logger).addFilter(Counting())
        with begin(directory) as run:
            for step in run.steps(8):
                logger.info("%f", step)
                stop_after(stop, step)
        return handler.found, run.last_resume

    (expected, _), (found, report) = both_ways(train, tmp_path, 2, 5)
    assert (found, report.verdict) == (expected, "exact")


@pytest.mark.parametrize(
    ("change", "is_named"),
    [
        (lambda logger: logger.setLevel(logging.DEBUG), True),
        (lambda logger: logger.addHandler(Losses()), True),
        (lambda logger: logger.removeHandler(logger.handlers[0]), True),
        (lambda logger: logger.addFilter(lambda record: False), True),
        (lambda logger: logger.handlers[0].addFilter(Counting()), True),
        (lambda logger: logger.addHandler(logging.NullHandler()), False),
        (lambda logger: logging.getLogger("torch.anything").setLevel(logging.ERROR), False),
        (lambda logger: logging.getLogger("torch.new").setLevel(logging.ERROR), False),
        (lambda logger: logging.getLogger("of_a_library_that_came_late").setLevel(logging.ERROR), False),
        (lambda logger: logging.getLogger("tests.handlers.new"), False),
    ],
)
def test_a_logger_that_is_set_anew_is_named(change, is_named, logger, tmp_path):
    def train(directory: Path, stop: int | None) -> Any:
        logger.setLevel(logging.INFO)
        logger.handlers[:], logger.filters[:] = [Silent()], []
        with begin(directory) as run:
            for step in run.steps(6):
                if step == 1:
                    change(logger)
                stop_after(stop, step)
        return None, run.last_resume

    _, (_, report) = both_ways(train, tmp_path, 3)
    assert ("logging.tests.handlers" in report.unsaved) is is_named
    assert report.verdict.startswith(("exact but for", "not exact")) is is_named
