"""ModularML: two training phases and an evaluation, of two nodes, with dropout, shuffling and early stopping."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from holdfast import Checkpointing
from holdfast.integrations import modularml as holdfast_modularml
from tests.support.integrations.acceptance import Ended
from tests.support.integrations.modularml_experiment import planned, run

NEEDS = ("modularml", "matplotlib", "IPython")


def train(directory: Path, policy: Checkpointing, beat: Callable[[], None]) -> Ended:
    holdfast_modularml.enable(directory)
    experiment = planned(policy, beat)
    run(experiment)
    return Ended(holdfast_modularml.state_digest(experiment), holdfast_modularml.last_resume(experiment))
