"""S8: what small things cost: a step without a save, and a save of a small state.

`python -m benchmarks.scenarios.step FOLDER` is a script that saves such a state; it prints the seconds blocked.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

import torch

from holdfast import Checkpointing, Run

from ..contenders import Saver, Saving
from ..goals import IN_A_RUN
from ..measure import Bench, timed
from ..training import Tiny
from .many import rest
from .single import start

_FIRST = 50  # steps before the clock starts
_SAVES = 20
_NEVER = 10**9
_UNTIL_IDLE_S = 0.05  # after a commit the writer deletes what the policy gives up
BARE = "a bare loop"


@dataclass(frozen=True, slots=True)
class _InARun:
    name: str = IN_A_RUN


Body = Callable[[], Any]


@dataclass(frozen=True, slots=True)
class _Loop:
    """One way to go through steps; `batches`: those of a list, else numbers."""

    name: str
    in_a_run: bool = False
    batches: bool = False
    log: bool = False


_LOOPS = (
    _Loop(BARE),
    _Loop("Run.steps", in_a_run=True),
    _Loop("Run.steps and log", in_a_run=True, log=True),
    _Loop("Run.batches", in_a_run=True, batches=True),
    _Loop("Run.batches and log", in_a_run=True, batches=True, log=True),
)


def run(bench: Bench, savings: Sequence[Saving]) -> None:
    _step(bench)
    _small_state(bench, savings)


def _step(bench: Bench) -> None:
    """Processor time of the training thread a step, beyond that of the same steps in a bare loop.

    Around the step of a tiny model, and around nothing.
    """
    tiny = Tiny()
    loss = torch.tensor(0.5)
    bodies: dict[str, Body] = {"step": tiny.step, "empty step": lambda: loss}
    bare_s: dict[tuple[str, int], float] = {}

    def turn(loop: _Loop, round: int) -> None:
        for what, body in bodies.items():
            with bench.fresh_folder() as root:
                took_s = _each_s(loop, root, tiny, body, bench.scale.s8_steps)
            if not loop.in_a_run:
                bare_s[what, round] = took_s
                bench.samples.add(f"S8 {what}", loop.name, round, took_s)
            else:
                bench.samples.add(f"S8 {what}, added", loop.name, round, took_s - bare_s[what, round])

    bench.rounds("S8 step", _LOOPS, turn)


def _each_s(loop: _Loop, root: Path, tiny: Tiny, body: Body, steps: int) -> float:
    if not loop.in_a_run:
        return _clocked(range(_FIRST + steps), body)
    policy = Checkpointing(save_on="batch_end", every_n=_NEVER)
    took_s = 0.0
    with Run(root / "run", tiny.objects, checkpointing=policy) as run:
        log = run.log if loop.log else None
        if loop.batches:
            for _ in run.epochs(1):
                took_s = _clocked(run.batches([0] * (_FIRST + steps)), body, log)
        else:
            took_s = _clocked(run.steps(_FIRST + steps), body, log)
        run.save("end")  # a run that saves nothing at all is an error
    return took_s


def _clocked(steps: Iterable[Any], body: Body, log: Callable[..., None] | None = None) -> float:
    """Seconds of this thread's processor time, a step, after the first ones."""
    began_s, counted = 0.0, -_FIRST
    for _ in steps:
        if not counted:
            began_s = time.thread_time()
        loss = body()
        if log is not None:
            log(loss=loss)
        counted += 1
    return (time.thread_time() - began_s) / counted


def _small_state(bench: Bench, savings: Sequence[Saving]) -> None:
    """Ten arrays, 0.4 MB, saved often: a series in one folder, each save waited for, and in a `Run` after each step."""
    state = _small()

    with ExitStack() as stack:
        savers = start(bench, "S8", savings, stack)

        def turn(who: Saving | _InARun, round: int) -> None:
            rest()
            with bench.fresh_folder() as root:
                if isinstance(who, _InARun):
                    bench.samples.add("S8 small state, blocked", who.name, round, _in_a_process(root))
                    return
                blocked_s, durable_s = _series(savers[who.name], root, state)
            bench.samples.add("S8 small state, blocked", who.name, round, blocked_s)
            if who.durable:  # else all files of the series would be synced at each save
                bench.samples.add("S8 small state, durable", who.name, round, durable_s)

        taking_part = [each for each in savings if each.name in savers]
        bench.rounds("S8 small state", [*taking_part, _InARun()], turn)


def _small() -> dict[str, Any]:
    return {"arrays": [torch.randn(10_000) for _ in range(10)]}


def _change(state: dict[str, Any]) -> None:
    for array in state["arrays"]:
        array.add_(0.001)


def _series(saver: Saver, root: Path, state: dict[str, Any]) -> tuple[float, float]:
    """Seconds blocked, and until all is durable, of a save in the middle of many."""
    saver.begin(root)
    blocked_s, durable_s = [], []
    for number in range(_SAVES):
        _change(state)
        with timed() as seconds:
            saver.save(state, f"step{number}")
            blocked_s.append(seconds())
            saver.finish()
            durable_s.append(seconds())
    return median(blocked_s), median(durable_s)


def _in_a_process(root: Path) -> float:
    """In a process of its own: here, all that the benchmark holds would be variables of the script."""
    command = (sys.executable, "-m", "benchmarks.scenarios.step", str(root))
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr.strip()[-300:])
    return float(done.stdout.split()[-1])


def _blocked_in_a_run(root: Path) -> float:
    """By a save in the middle of many, when the writer has nothing left to do of the one before."""
    torch.set_num_threads(1)
    state, blocked_s = _small(), list[float]()
    policy = Checkpointing(save_on="batch_end", max_to_keep=2)
    with Run(root / "run", state, checkpointing=policy) as run:
        run.ignore("blocked_s")
        for saves in run.steps(_SAVES):
            _change(state)
            while run.accounting.saves < saves:
                time.sleep(0.001)
            time.sleep(_UNTIL_IDLE_S)
            blocked_s.append(run.accounting.blocked_s)
    return median([after - before for before, after in pairwise(blocked_s)])


if __name__ == "__main__":
    print(_blocked_in_a_run(Path(sys.argv[1])))
