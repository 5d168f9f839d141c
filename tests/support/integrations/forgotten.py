"""Trainings beside which an optimizer is at work that nobody handed over; run as `python forgotten.py NAME DIRECTORY`.

Each is cut in its fifth batch and resumed in the same process; what the log and the report say is printed as JSON.
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Callable
from pathlib import Path

from tests.support.integrations.crashing import Crash, beats
from tests.support.integrations.spoiling import CUT_AT, TRAININGS

WITH_TORCH = [*TRAININGS.keys() - {"sklearn_loop", "jax_loop", "keras_jax", "xgboost", "lightgbm"}]


def stepping(beat: Callable[[], None]) -> Callable[[], None]:
    """In each batch a head of its own is trained for a step, too."""
    import torch

    head = torch.nn.Linear(2, 1)
    optimizer = torch.optim.Adam(head.parameters(), 0.1)

    def step() -> None:
        beat()
        with torch.enable_grad():
            head(torch.ones(2, 2)).sum().backward()
        optimizer.step()

    return step


class Lines(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


def main(name: str, directory: Path) -> None:
    import torch

    torch.set_num_threads(1)
    train, lines = TRAININGS[name], Lines()
    logging.getLogger("holdfast").addHandler(lines)
    try:
        train(directory, stepping(beats(CUT_AT.get(name, 5))), False)
    except Crash:
        warned, lines.lines = lines.lines, []
        report = train(directory, stepping(beats(None)), False).resumed
        assert report is not None
        print(json.dumps({"warned": warned, "verdict": report.verdict, "warned_again": lines.lines}))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
