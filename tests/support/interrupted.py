"""Training functions that are interrupted after a step, called again, and compared with an uninterrupted call."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from holdfast import Checkpointing, Run


class Interrupted(Exception):
    """The end that a kill would make."""


def every_batch(**more: Any) -> Checkpointing:
    return Checkpointing(mode="disk", save_on="batch_end", max_to_keep=3, **more)


def begin(directory: Path, state: dict[str, Any] | None = None, **more: Any) -> Run:
    more.setdefault("checkpointing", every_batch())
    return Run(directory, {"weights": [0.0]} if state is None else state, **more)


def stop_after(at: int | None, step: int) -> None:
    if step == at:
        raise Interrupted


Train = Callable[[Path, int | None], Any]


def both_ways(train: Train, directory: Path, *at: int) -> tuple[Any, Any]:
    """What `train(directory, stop)` gives uninterrupted, and after interruptions at these steps."""
    expected = train(directory / "uninterrupted", None)
    for each in at:
        with pytest.raises(Interrupted):
            train(directory / "interrupted", each)
    return expected, train(directory / "interrupted", None)


def check_exact(train: Train, directory: Path, *at: int) -> None:
    """It ends as it would have uninterrupted, and says so."""
    (expected, _), (found, report) = both_ways(train, directory, *at)
    assert found == expected
    assert report.verdict == "exact"
