"""`make torture` runs every campaign there is, tells broken promises, and goes on after one."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.reliability.torture import Result, run_apart, torture

CAMPAIGNS = """
import os, signal, time

def holds(budget_s, seed):
    return f"{budget_s:.0f} s of checks with seed {seed}, 0 lost"

def breaks(budget_s, seed):
    assert seed != 7, "a checkpoint is lost"

def dies(budget_s, seed):
    os.kill(os.getpid(), signal.SIGKILL)

def cannot(budget_s, seed):
    return "skipped: nobody is root here"

CAMPAIGNS = {"holds": holds, "breaks": breaks, "dies": dies, "cannot": cannot}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "campaigns_small.py").write_text(CAMPAIGNS)
    return tmp_path


def test_a_broken_promise_is_told_with_how_to_repeat_it_and_the_others_continue(folder: Path, capsys):
    assert torture(["breaks", "holds"], minutes=0.1, seed=7, folder=folder) == 1
    printed = capsys.readouterr().out
    assert "a checkpoint is lost" in printed
    assert "--only breaks" in printed
    assert "--seed 7" in printed
    assert "of checks with seed 7, 0 lost" in printed
    assert "1 of 2 campaigns found a promise broken." in printed


def test_a_campaign_that_dies_counts_as_broken_and_one_that_cannot_run_as_skipped(folder: Path):
    assert run_apart("dies", 1, 1, folder).status == "BROKEN"
    assert run_apart("cannot", 1, 1, folder) == Result("skipped", "skipped: nobody is root here")
