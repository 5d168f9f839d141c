"""What does not fit is refused with advice that works where it is given."""

from __future__ import annotations

import re

import numpy as np
import pytest

import holdfast
from holdfast import Checkpointing, Resume, Run, errors

SMALL, LARGE = {"w": np.zeros(2)}, {"w": np.zeros(3)}


@pytest.fixture
def run(tmp_path):
    with Run(tmp_path / "run", dict(SMALL)) as run:
        for _ in run.epochs(1):
            pass
    return tmp_path / "run"


def test_a_run_names_what_a_run_has(run):
    with pytest.raises(errors.StateMismatchError) as refused:
        Run(run, dict(LARGE)).__enter__()
    assert "(1 difference)" in str(refused.value)
    assert "resume=Resume(strict=False)" in str(refused.value)
    assert not re.search(r"(?<!Resume\()strict=False", str(refused.value))
    with Run(run, dict(LARGE), resume=Resume(strict=False)):
        pass


def test_other_objects_are_another_run_and_the_advice_is_a_sentence_of_its_own(run):
    with pytest.raises(errors.PlanMismatchError) as refused:
        Run(run, {"other": 1}).__enter__()
    first, *lines, last = str(refused.value).splitlines()
    assert first == "the checkpoint belongs to another run:"
    assert lines == ["  'w' was saved and is not here now", "  'other' is here and was not saved"]
    assert last.startswith("Build the objects")
    assert "resume=Resume(strict=False)" in last
    assert "plan" not in str(refused.value)


def test_the_other_doors_name_theirs(tmp_path):
    path = holdfast.save(tmp_path / "a", SMALL)
    with pytest.raises(errors.StateMismatchError, match=r"open\(path\)\.restore\(state, strict=False\)"):
        holdfast.load(path, into=dict(LARGE))
    with holdfast.open(path) as checkpoint:
        with pytest.raises(errors.StateMismatchError, match="pass strict=False"):
            checkpoint.restore(dict(LARGE))
        with pytest.raises(errors.StateMismatchError, match="pass strict=False"):
            holdfast.restore(checkpoint, dict(LARGE))
        assert checkpoint.restore(dict(LARGE), strict=False).skipped


def test_an_experiment_names_nothing_that_it_does_not_have(tmp_path):
    assert "strict" not in str(errors.StateMismatchError(["a: b", "c: d"]))
    assert "(2 differences)" in str(errors.StateMismatchError(["a: b", "c: d"]))


def test_an_empty_list_of_hooks_is_refused_without_advice_that_works_only_elsewhere():
    with pytest.raises(errors.UsageError, match="name at least one hook") as refused:
        Checkpointing(save_on=[])
    assert "None" not in str(refused.value)


def test_restore_takes_what_is_opened_and_says_so(tmp_path):
    path = holdfast.save(tmp_path / "a", {"w": np.ones(2)})
    live = {"w": np.zeros(2)}
    with holdfast.open(path) as checkpoint:
        holdfast.restore(checkpoint, live)
    assert live["w"].tolist() == [1, 1]
    for wrong in (str(path), path, None, 3):
        with pytest.raises(errors.UsageError, match=r"load\(path, into=state\)"):
            holdfast.restore(wrong, live)
