"""`holdfast bisect` finds the first bad checkpoint, by the user's own check or by NaN."""

import json
import subprocess
import sys

import numpy as np
import pytest

from holdfast.records import Moment
from tests.support.small_runs import At, experiment, on_disk, train


@pytest.fixture
def line(experiment):
    """Ten checkpoints of a run; from the seventh on its weight is beyond 60, from the ninth on NaN."""
    places = []
    for index in range(10):
        value = np.full(4, 10.0 * index)
        value[0] = np.nan if index >= 8 else 0
        places.append(experiment.save(f"phase/e{index}", {"weight": value, "n": np.arange(3)}))
    return places


CHECK = """
import os, sys, holdfast
assert os.environ["HOLDFAST_BUNDLE"] == sys.argv[-1]
with open(sys.argv[1], "a") as log:
    print(sys.argv[-1], file=log)
print("looking")
sys.exit(3 if holdfast.open(sys.argv[-1])["weight"][1] > 55 else 0)
"""


@pytest.mark.medium
def test_the_users_own_check_is_run_on_the_bundle_and_finds_the_first_bad(line, tmp_path):
    (tmp_path / "check.py").write_text(CHECK)
    own = (sys.executable, tmp_path / "check.py", tmp_path / "log")
    shown = subprocess.run(
        [sys.executable, "-m", "holdfast", "bisect", tmp_path / "runs", "--json", "--", *own],
        capture_output=True,
        text=True,
        check=True,
    )
    found = json.loads(shown.stdout)  # what the check printed is not in it
    assert "looking" in shown.stderr
    assert found["first_bad"] == str(line[6])
    assert found["last_good"] == str(line[5])
    assert found["checkpoints"] == 10
    assert [check["path"] for check in found["checks"]] == (tmp_path / "log").read_text().splitlines()
    assert len(found["checks"]) <= 6
    assert found["checks"][1] == {"path": str(line[9]), "verdict": "bad", "why": "exit code 3"}


def test_the_first_nan_is_found_and_named(line, holdfast, experiment):
    shown = holdfast("bisect", experiment.directory, "--nan")
    assert shown.exit_code == 0
    assert "first bad: phase/e8  pretrain · epoch 9 end; 6 checks of 10 checkpoints" in shown.stdout
    assert "bad      phase/e8  NaN in weight" in shown.stdout


def test_a_real_run_that_diverges_is_found_out(holdfast, tmp_path):
    def explode(context):
        with __import__("torch").no_grad():
            next(iter(context.graph.parameters())).fill_(float("inf"))

    run = train(n_epochs=6, checkpointing=on_disk(), callbacks=[At("epoch_end", 3, do=explode)])
    experiment(tmp_path, run).run()
    shown = holdfast("bisect", tmp_path, "--nan")
    assert "first bad: train/train_epoch3" in shown.stdout
    assert "infinity in model_graph/body/0.weight" in shown.stdout


def test_damaged_ones_are_skipped_with_a_word(line, holdfast, experiment):
    experiment.rot(line[8], "weight")
    experiment.rot(line[0], "n")
    (line[4] / "checkpoint.json").write_bytes(b"")
    shown = holdfast("bisect", experiment.directory, "--nan")
    assert shown.exit_code == 0
    assert "first bad: phase/e9" in shown.stdout
    assert "The fault may have begun in one of the 1 skipped checkpoints before it." in shown.stdout
    skipped = [line for line in shown.stdout.splitlines() if line.startswith("skipped")]
    assert len(skipped) == 2
    assert all("is damaged" in line for line in skipped)
    assert "skipped 1 checkpoint without a readable record" in shown.stderr


def test_125_skips_and_codes_from_128_on_and_signals_stop_the_search(line, holdfast, experiment):
    def bisect(code):
        return holdfast(
            "bisect",
            experiment.directory,
            "--",
            "sh",
            "-c",
            f'case "$0" in *e[4567].*) {code};; *e[89].*) exit 1;; esac',
        )

    skipped = bisect("exit 125")
    assert skipped.exit_code == 0
    assert "first bad: phase/e8" in skipped.stdout
    assert "one of the 4 skipped checkpoints before it" in skipped.stdout
    for code in ("exit 128", "exit 255", "kill -9 $$"):
        stopped = bisect(code)
        assert stopped.exit_code == 2
        assert "neither good nor bad" in stopped.stderr


def test_when_all_are_good_or_all_bad_it_says_so(line, holdfast, experiment):
    good = holdfast("bisect", experiment.directory, "--", "true")
    assert "No checkpoint is bad: the newest is good; 2 checks of 10 checkpoints." in good.stdout
    bad = holdfast("bisect", experiment.directory, "--", "false")
    assert "first bad: phase/e0" in bad.stdout
    assert "Even the oldest" in bad.stdout
    found = json.loads(holdfast("bisect", experiment.directory, "--json", "--", "true").stdout)
    assert (found["first_bad"], found["last_good"]) == (None, str(line[9]))


def test_checkpoints_of_several_runs_are_never_mixed(line, holdfast, experiment):
    experiment.save("other", {"weight": np.array([np.nan])}, moment=Moment(run="b" * 32, hook="epoch_end"))
    both = holdfast("bisect", experiment.directory, "--nan")
    assert both.exit_code == 2
    assert "pass --run with one of aaaaaaaaaaaa, bbbbbbbbbbbb" in both.stderr
    assert "first bad: phase/e8" in holdfast("bisect", experiment.directory, "--nan", "--run", "aaa").stdout


@pytest.mark.parametrize(
    "arguments", [(), ("--nan", "--", "true"), ("--only", "x", "--", "true"), ("--", "/no/such/check")]
)
def test_what_makes_no_sense_is_wrong_usage(line, holdfast, experiment, arguments):
    assert holdfast("bisect", experiment.directory, *arguments).exit_code == 2


def test_an_empty_place_has_nothing_to_search(holdfast, tmp_path):
    assert holdfast("bisect", tmp_path, "--nan").exit_code == 2
