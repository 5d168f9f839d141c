"""One line at a resume and one at the end, also where nobody has set up logging."""

from __future__ import annotations

import logging
import re
import subprocess
import sys

import pytest

from holdfast import Checkpointing
from tests.support.small_loop import crash, train
from tests.support.small_runs import At, experiment
from tests.support.small_runs import train as small_phase

SCRIPT = """
import sys
{setup}
from tests.support.small_loop import train
train(__import__("pathlib").Path(sys.argv[1]), [1.0] * 3)
"""


def run(directory, setup: str = "") -> list[str]:
    script = SCRIPT.format(setup=setup)
    done = subprocess.run(
        [sys.executable, "-c", script, str(directory)], capture_output=True, text=True, check=True
    )
    assert done.stdout == ""
    return done.stderr.splitlines()


@pytest.mark.medium
def test_a_script_without_logging_shows_them(tmp_path):
    crash(tmp_path, [1.0] * 3, 2)
    resumed, ended = run(tmp_path)
    assert resumed == f"holdfast: resumed from {tmp_path}/train_epoch1.ckpt.mml: exact"
    assert re.fullmatch(
        rf"holdfast: ended at step 0: 1 checkpoint saved in {tmp_path}, training blocked for \S+ s \(\S+% of the time\)",
        ended,
    ), ended


@pytest.mark.parametrize(
    "setup",
    [
        "import logging; logging.basicConfig(level=logging.WARNING)",
        "import logging; logging.getLogger('holdfast').setLevel(logging.WARNING)",
        "import logging; logging.getLogger('holdfast').addHandler(logging.NullHandler())",
    ],
)
def test_who_has_set_up_logging_decides(tmp_path, setup):
    assert run(tmp_path, setup) == []


def test_they_are_in_the_log_as_information(tmp_path, caplog):
    caplog.set_level(logging.INFO, "holdfast")
    train(tmp_path, [1.0] * 2)
    train(tmp_path, [1.0] * 2)
    said = [each.getMessage() for each in caplog.records if each.levelno == logging.INFO]
    assert any("2 checkpoints saved in" in each for each in said)


def test_that_nothing_was_trained_is_a_warning_that_says_why(tmp_path, caplog):
    train(tmp_path, [1.0] * 2)
    train(tmp_path, [1.0] * 2)
    said = [each.getMessage() for each in caplog.records if each.levelno == logging.WARNING]
    assert any("nothing was trained" in each and "was complete" in each for each in said)
    caplog.clear()
    train(tmp_path, [1.0] * 3)
    assert "nothing was trained" not in caplog.text


def test_a_run_that_fails_does_not_say_that_it_has_ended(tmp_path, caplog):
    caplog.set_level(logging.INFO, "holdfast")
    crash(tmp_path, [1.0] * 3, 2)
    assert "ended at step" not in caplog.text


def test_an_experiment_says_its_end_too(tmp_path, caplog):
    caplog.set_level(logging.INFO, "holdfast")
    stop = At("batch_start", 2, 0, do=RuntimeError("stop"))
    with pytest.raises(RuntimeError, match="stop"):
        experiment(tmp_path, small_phase(checkpointing=Checkpointing(), callbacks=[stop])).run(progress=False)
    assert "ended at step" not in caplog.text
    never = At("batch_end", 9, 9, do=print)
    done = experiment(tmp_path, small_phase(checkpointing=Checkpointing(), callbacks=[never]))
    done.run(resume=True, progress=False)
    (said,) = [each for each in caplog.messages if each.startswith("ended at step")]
    assert done.last_resume is not None
    per_epoch = done.last_resume.record.moment.step // 2
    assert said.startswith(
        f"ended at step {3 * per_epoch} ({per_epoch} steps trained now): 1 checkpoint saved in {tmp_path}"
    )
    experiment(None, small_phase()).run(progress=False)
    assert len([each for each in caplog.messages if each.startswith("ended at step")]) == 1
