"""What a handler of the script's own class keeps comes back, though only a logger leads to it."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest

from holdfast import Checkpointing, Run, Write


class Crash(Exception):
    """Ends a run from within."""


class Losses(logging.Handler):
    """Keeps the numbers that are logged."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[float] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.found.append(float(record.getMessage()))


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
