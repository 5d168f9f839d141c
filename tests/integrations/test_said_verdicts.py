"""Of each resume there is one line in the log, when training resumes, and it says what the report says."""

from __future__ import annotations

import numpy as np
import pytest

import holdfast
from holdfast import Checkpointing, Run, Write
from tests.support.integrations import inexact
from tests.support.integrations.answers import answer_of, by_name
from tests.support.integrations.inexact import TRAININGS, own_loop


@pytest.mark.medium
@pytest.mark.parametrize("name", by_name(*TRAININGS))
def test_the_log_says_what_the_verdict_says(name, tmp_path):
    answer = answer_of(inexact.__file__, name, tmp_path)
    assert answer["verdict"].startswith("not exact: "), answer
    [(level, said)] = answer["said"]
    said, _, put_back = said.partition("; variables put back: ")
    # The list of lines, where the script's variables are seen, or its own handlers of the log.
    assert put_back in ("", "lines.said", "_Lines.said")
    assert (level, said) == ("WARNING", f"resumed from {answer['path']}: {answer['verdict']}")
    assert answer["saved"]["verdict"] == answer["verdict"]
    assert answer["again"].startswith("not exact: ")  # what it has changed is in the state


def test_what_is_found_only_after_the_resume_has_one_line_more(tmp_path, caplog):
    def go(values, cut: int | None) -> Run:
        policy = Checkpointing(mode="disk", save_on="epoch_end", write=Write(durability="process"))
        with Run(tmp_path, {"weight": np.zeros(1)}, checkpointing=policy) as run:
            for epoch in run.epochs(3):
                for _ in run.batches(holdfast.Dataset(x=values), batch_size=4):
                    if epoch == cut:
                        raise InterruptedError
        return run

    with pytest.raises(InterruptedError):
        go(np.arange(8.0), 1)
    with caplog.at_level("INFO", "holdfast"):
        report = go(np.arange(8.0) + 1, None).last_resume
    assert report is not None
    assert report.verdict == "not exact: the data's values have changed"
    assert [line for line in caplog.messages if "resume" in line] == [
        f"resumed from {report.path}: exact",
        f"since the resume from {report.path}: {report.verdict}",
    ]


def test_the_differences_of_a_report_cannot_be_changed_from_outside(tmp_path):
    def no_beat() -> None: ...

    pytest.importorskip("torch")
    with pytest.raises(InterruptedError):
        own_loop(tmp_path, _cutting(), False)
    report = own_loop(tmp_path, no_beat, True)
    assert report is not None
    assert isinstance(report.differences, tuple)
    assert isinstance(report.skipped, tuple)
    with pytest.raises(AttributeError):
        report.differences = ()  # type: ignore[misc]
    with pytest.raises(AttributeError):
        report.path = ""  # type: ignore[misc]
    assert not {"note", "arrive", "tell", "add"} & {*dir(report)}


def _cutting():
    batches = iter(range(5))

    def beat() -> None:
        if next(batches) == 4:
            raise InterruptedError

    return beat


def test_a_finished_boosting_that_gets_more_rounds_says_that_they_are_drawn_anew(tmp_path, caplog):
    xgboost = pytest.importorskip("xgboost")
    from holdfast.integrations.xgboost import train

    def boost(rounds: int):
        x = np.random.default_rng(0).normal(size=(60, 3))
        policy = Checkpointing(mode="disk", save_on="phase_end")
        parameters = {"subsample": 0.5, "nthread": 1}
        return train(
            parameters, xgboost.DMatrix(x, x[:, 0]), tmp_path, num_boost_round=rounds, checkpointing=policy
        ).last_resume

    boost(3)
    assert boost(3).verdict == "exact"  # nothing is drawn any more
    report = boost(5)
    assert report.verdict.startswith("not exact: rows or columns are sampled")
    assert f"resumed from {report.path}: {report.verdict}" in caplog.messages
