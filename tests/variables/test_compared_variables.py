"""Variables in comparisons: named as a possible cause, and no difference of their own."""

from __future__ import annotations

from pathlib import Path

import holdfast
from holdfast.compare import unlike
from tests.support.interrupted import begin


def trained(directory: Path, *, weight: float, noted: int) -> str:
    state, total = {"weights": [0.0]}, 0
    with begin(directory, state) as run:
        for _ in run.steps(2):
            state["weights"] = [weight]
            total += noted
    return f"{directory}/train_epoch0_batch1.ckpt.mml"


def test_variables_alone_make_no_difference_and_are_listed_after_others(tmp_path: Path):
    one = trained(tmp_path / "one", weight=1.0, noted=1)
    same = trained(tmp_path / "same", weight=1.0, noted=2)
    other = trained(tmp_path / "other", weight=2.0, noted=2)
    assert unlike(one, same) == []
    assert unlike(one, other) == ["weights/0", "variables/trained/total"]


def test_diff_shows_them_as_any_other_path(tmp_path: Path):
    one = trained(tmp_path / "one", weight=1.0, noted=1)
    same = trained(tmp_path / "same", weight=1.0, noted=2)
    assert "variables/trained/total" in [change.path for change in holdfast.diff(one, same).values]


def test_the_digest_of_a_state_leaves_them_out(tmp_path: Path):
    def digest(directory: Path, noted: int) -> str:
        total = 0
        with begin(directory) as run:
            for _ in run.steps(2):
                total += noted
        return run.state_digest()

    assert digest(tmp_path / "one", 1) == digest(tmp_path / "other", 2)
