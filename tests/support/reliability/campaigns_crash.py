"""Long campaigns of crashes, faults and kills, for `make torture`: each goes on until its time is over.

A campaign is called with a budget in seconds and a seed, and returns one line of figures; a violation is an
AssertionError.
"""

from __future__ import annotations

import functools
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

from tests.support.reliability.crash_checker import Checker
from tests.support.reliability.faults import TASKS, Trouble, interruptions, refusals
from tests.support.reliability.kills import check_kills
from tests.support.reliability.lives import DEATHS, STEPS, save_best


def crash_states(seconds: float, seed: int) -> str:
    """Lives of up to six steps, drawn at random, deaths among them; each crash of the last step is judged."""
    random = Random(seed)
    checker = Checker(cap=64, random=random, second=0.05)
    for _ in _until(seconds):
        middle = random.choices([*STEPS, *DEATHS], k=random.randrange(1, 5))
        checker.check_life([save_best, *middle, random.choice(STEPS)])
        checker.forget_if_large()
    return checker.figures


def faults(seconds: float, seed: int) -> str:
    """Every kind of fault at operations drawn at random."""
    random = Random(seed)
    trouble = Trouble()
    kinds = [(fault, True) for name, fault in refusals() if "done" not in name] + [
        (fault, False) for _, fault in interruptions()
    ]
    for _ in _until(seconds):
        fault, told = random.choice(kinds)
        task = random.choice([*TASKS.values()])
        wrapped = functools.partial(fault, at=random.randrange(250 if task is None else 60))
        if task is None:
            trouble.check_training(wrapped, told=told)
        else:
            trouble.check(task, wrapped, told=told)
    return f"{trouble.runs:,} faults: 0 violations"


def kills(seconds: float, seed: int) -> str:
    """Processes killed at every operation of theirs, on a real directory."""
    with tempfile.TemporaryDirectory() as root:
        return check_kills(Path(root), 10**9, seed, seconds=seconds)


Campaign = Callable[[float, int], str]

CAMPAIGNS: dict[str, Campaign] = {
    "crash states": crash_states,
    "faults": faults,
    "kills": kills,
}


def _until(seconds: float) -> Iterator[None]:
    end_s = time.monotonic() + seconds
    yield
    while time.monotonic() < end_s:
        yield
