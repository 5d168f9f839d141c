"""The words of a verdict: ordered, read from a text, and explained on their page."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import holdfast
from holdfast import Verdict

PAGE = Path(__file__).parent.parent / "docs" / "exactness.md"


def test_the_more_is_known_to_be_right_the_higher_a_verdict_ranks():
    assert Verdict.PROVED > Verdict.EXACT > Verdict.EXACT_BUT_FOR > Verdict.NOT_EXACT > Verdict.NOT_COMPARED
    assert sorted(Verdict) == list(Verdict)
    assert max(Verdict.NOT_EXACT, Verdict.EXACT) is Verdict.EXACT


def test_a_verdict_compares_with_nothing_but_verdicts():
    with pytest.raises(TypeError):
        assert Verdict.EXACT > "exact"  # type: ignore[operator]


@pytest.mark.parametrize(
    ("text", "verdict"),
    [
        ("proved", Verdict.PROVED),
        ("exact", Verdict.EXACT),
        ("exact but for: env, data_iter", Verdict.EXACT_BUT_FOR),
        ("not exact: numpy draws other numbers: see below", Verdict.NOT_EXACT),
        ("not compared yet", Verdict.NOT_COMPARED),
    ],
)
def test_a_verdict_is_read_from_its_text(text, verdict):
    assert Verdict.of(text) is verdict
    assert text.startswith(str(verdict))


@pytest.mark.parametrize("text", ["", "exactly", "exact but", "EXACT"])
def test_what_is_no_verdict_is_not_taken_for_one(text):
    with pytest.raises(ValueError, match="is not a valid Verdict"):
        Verdict.of(text)


def test_each_word_is_explained_on_the_page():
    for verdict in Verdict:
        assert f"| `{verdict}" in PAGE.read_text()


def test_a_resumed_run_ranks_its_verdict(tmp_path):
    def train(weight: np.ndarray, epochs: int) -> holdfast.Run:
        with holdfast.Run(tmp_path, {"weight": weight}) as run:
            if run.last_resume is not None:
                assert run.last_resume.rank is Verdict.NOT_COMPARED
            for _ in run.epochs(epochs):
                weight += 1
        return run

    assert train(np.zeros(3), 1).last_resume is None
    resumed = train(np.zeros(3), 2).last_resume
    assert resumed is not None
    assert resumed.rank is Verdict.EXACT
