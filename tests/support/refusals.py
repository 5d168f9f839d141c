"""`refused`: the law for bad input, and what must be the same before and after it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from holdfast import Experiment
from holdfast.errors import HoldfastError
from tests.support.small_runs import digest_of, files_below


@contextlib.contextmanager
def refused(
    directory: Path, *types: type[BaseException], match: str, run: Experiment | None = None
) -> Iterator[None]:
    """The block raises an error that is each of these types and of our tree, and leaves no trace.

    `run`: whose graph, results and history must be untouched.
    """
    before = files(directory), None if run is None else state_of(run)
    with pytest.raises(HoldfastError, match=match) as caught:
        yield
    for kind in types:
        assert isinstance(caught.value, kind), f"{caught.value!r} is no {kind.__name__}"
    assert files(directory) == before[0]
    if run is not None:
        assert state_of(run) == before[1]


def files(directory: Path) -> set[str]:
    """All files in it, and what lies beside it."""
    return files_below(directory) | {path.name for path in directory.parent.iterdir()}


def state_of(run: Experiment) -> tuple:
    models = None if run.graph is None else digest_of(run.graph)
    draws = torch.get_rng_state().numpy().tobytes(), np.random.get_state()[1].tobytes()
    return models, draws, dict(run.results), [entry.get_state() for entry in run.history]
