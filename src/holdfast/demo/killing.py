"""Runs the demonstration in processes of their own: one uninterrupted, one killed again and again."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from ..checkpoint import scan_if_there
from ..errors import HoldfastError

STARTED = "started"  # the experiment prints it when training begins
_TIMEOUT_S = 300


@dataclass(slots=True)
class Outcome:
    """The result of a run, however often it was killed.

    `killed` says for each kill after how many seconds, and from which checkpoint the run resumed.
    """

    directory: str
    digest: str
    accuracy: float
    seconds: float
    killed: list[tuple[float, str]] = field(default_factory=list)

    @property
    def checkpoints(self) -> list[str]:
        """The paths of those that are there."""
        return [listed.path for listed in scan_if_there(self.directory)]

    @property
    def blocked_s(self) -> float:
        """Seconds for which the existing checkpoints blocked training."""
        return sum(listed.record.blocked_s for listed in scan_if_there(self.directory) if listed.record)


def run_uninterrupted(directory: str) -> Outcome:
    """The entire experiment in one process."""
    process = _start(directory)
    return _finish(process, directory)


def run_killed(
    directory: str, expected_s: float, *, kills: int, seed: int, tell: Callable[[str], None]
) -> Outcome:
    """The same experiment, killed with SIGKILL at random instants and restarted each time.

    Args:
        expected_s: how long uninterrupted training takes, in seconds; the instants are drawn from it.
        kills: how often it is killed before it may finish.
        seed: of the instants.
        tell: gets a line for each kill.
    """
    draw = random.Random(seed)
    instants = [0.0, *sorted(draw.uniform(0.05, 0.95) * expected_s for _ in range(kills))]
    killed: list[tuple[float, str]] = []
    for before, instant in pairwise(instants):
        process = _start(directory)
        wait_s = instant - before
        time.sleep(wait_s)
        process.send_signal(signal.SIGKILL)
        process.wait()
        there = [listed.record for listed in scan_if_there(directory) if listed.record]
        newest = there[-1].name if there else "the beginning"
        killed.append((wait_s, newest))
        tell(f"killed after {wait_s:.2f} s of training; resumes from {newest}")
    outcome = _finish(_start(directory), directory)
    outcome.killed = killed
    return outcome


def _start(directory: str) -> subprocess.Popen[str]:
    """The experiment in a process of its own; returns when training has begun."""
    process = subprocess.Popen(
        [sys.executable, "-m", "holdfast.demo.digits", directory],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    while (line := process.stdout.readline()) and line.strip() != STARTED:
        pass
    if not line:
        raise HoldfastError(f"the demonstration did not start: {process.communicate()[1][-2000:]}")
    return process


def _finish(process: subprocess.Popen[str], directory: str) -> Outcome:
    printed, complaints = process.communicate(timeout=_TIMEOUT_S)
    if process.returncode:
        raise HoldfastError(f"the demonstration failed: {complaints[-2000:]}")
    said: dict[str, Any] = json.loads(printed.splitlines()[-1])
    return Outcome(directory, said["digest"], said["accuracy"], said["seconds"])
