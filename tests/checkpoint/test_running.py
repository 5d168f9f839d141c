"""Where a checkpoint's experiment is, and whether a process runs there, is known from outside."""

from __future__ import annotations

import subprocess
import sys

from holdfast.checkpoint import run_at
from holdfast.runtime import ExperimentDirectory

HOLD = "import sys; from holdfast.runtime import ExperimentDirectory as D; d = D(sys.argv[1], 'r'); print('held', flush=True); input()"


def test_a_run_is_found_above_nested_groups_while_it_lives_and_after(tmp_path):
    experiment = tmp_path / "runs" / "digits"
    (experiment / "outer" / "inner" / "fit").mkdir(parents=True)
    bundle = str(experiment / "outer" / "inner" / "fit" / "fit_epoch0.ckpt.mml")
    command = [sys.executable, "-c", HOLD, str(experiment)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        assert run_at(bundle) == (str(experiment), True)
        process.communicate("\n")
    assert run_at(bundle) == (str(experiment), False)


def test_the_nearest_run_is_meant(tmp_path):
    for place in (tmp_path, tmp_path / "inside"):
        ExperimentDirectory(place, "r").close()
    (tmp_path / "inside" / "a").mkdir()
    assert run_at(str(tmp_path / "inside" / "a" / "x.ckpt.mml")) == (str(tmp_path / "inside"), False)
    assert run_at(str(tmp_path / "x.ckpt.mml")) == (str(tmp_path), False)


def test_without_a_trace_of_a_run_it_is_the_folder_itself(tmp_path):
    assert run_at(str(tmp_path / "a" / "x.ckpt.mml")) == (str(tmp_path / "a"), None)
