"""Killed at any instant, and gone on with in a new process: the same state comes out, bit for bit."""

from __future__ import annotations

import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from holdfast.checkpoint import scan_if_there
from tests.support import plans
from tests.support.nursery import Kill

NUM_KILLS = 40


@pytest.mark.medium
def test_a_run_killed_at_forty_random_instants_ends_as_an_uninterrupted_one(nursery, tmp_path):
    """Each resume is a process of its own, killed in its turn; when one gets through, the next run begins."""
    nursery.run("rich", tmp_path / "warm up")
    uninterrupted = nursery.run("rich", tmp_path / "uninterrupted")
    assert uninterrupted.digest is not None, uninterrupted.error
    draw = random.Random(20260101)
    kills = runs = 0
    while kills < NUM_KILLS:
        runs += 1
        directory = tmp_path / f"killed{runs}"
        while True:
            after_s = draw.uniform(0.0, 0.6 * uninterrupted.seconds)
            outcome = nursery.run("rich", directory, Kill(after_s=after_s))
            if not outcome.was_killed:
                break
            kills += 1
        where = f"run {runs} in {directory}, last let go after {after_s:.3f} s"
        assert outcome.error is None, f"{where}: {outcome.error}"
        assert outcome.digest == uninterrupted.digest, where
        assert outcome.verdict in (None, "exact"), where
    assert runs > 3


@pytest.mark.slow
@pytest.mark.parametrize("number", [6, 30])
def test_a_run_killed_at_a_change_of_the_disk_ends_as_an_uninterrupted_one(number, nursery, tmp_path):
    uninterrupted = nursery.run("rich", tmp_path / "uninterrupted")
    for at_change in range(1, uninterrupted.changes, uninterrupted.changes // number):
        directory = tmp_path / f"killed{at_change}"
        assert nursery.run("rich", directory, Kill(at_change=at_change)).was_killed
        outcome = nursery.run("rich", directory)
        assert outcome.error is None, f"killed before change {at_change}: {outcome.error}"
        assert outcome.digest == uninterrupted.digest, f"killed before change {at_change}"
        shutil.rmtree(directory)


@pytest.mark.slow
@pytest.mark.parametrize("plan", ["rich", "workers", "groups"])
def test_a_newly_started_script_resumes_after_a_kill(plan, tmp_path):
    script = [sys.executable, plans.__file__, plan]

    def run(directory: Path) -> str:
        return subprocess.run(
            [*script, directory], capture_output=True, text=True, timeout=120, check=True
        ).stdout

    uninterrupted = run(tmp_path / "uninterrupted")
    directory = tmp_path / "killed"
    quiet = subprocess.DEVNULL
    with subprocess.Popen([*script, directory], stdout=quiet, stderr=quiet) as process:
        while not scan_if_there(directory):
            assert process.poll() is None, "it ended before it had saved anything"
            time.sleep(0.001)
        process.send_signal(signal.SIGKILL)
    moved = tmp_path / "elsewhere" / "moved"
    moved.parent.mkdir()
    shutil.move(directory, moved)
    assert run(moved) == uninterrupted
