"""S7: a save after every step of a model of many parameters: how many steps a second are left."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from holdfast import Checkpointing, Run, Write

from ..contenders import Saver, Saving
from ..measure import Bench, timed
from ..training import Training
from .many import middle, rest
from .single import start

_FIRST = 3  # steps before the clock starts, with their saves: buffers, plans
NOTHING = "no saving"


@dataclass(frozen=True, slots=True)
class _Nothing:
    name: str = NOTHING


@dataclass(frozen=True, slots=True)
class _Run:
    """A `Run`, which prunes too: it keeps the last two checkpoints."""

    busy: Literal["skip", "wait"]

    @property
    def name(self) -> str:
        return f'Holdfast (Run, busy="{self.busy}")'


def run(bench: Bench, savings: Sequence[Saving]) -> None:
    """Seconds a step, until all saves are complete; and which part of the steps is on the disk, for who may skip."""
    training = Training(middle(bench.scale))
    steps = bench.scale.s7_steps
    with ExitStack() as stack:
        savers = start(bench, "S7", savings, stack)

        def turn(who: Saving | _Nothing | _Run, round: int) -> None:
            rest()
            with bench.fresh_folder() as root:
                if isinstance(who, _Run):
                    took_s, saved = _in_a_run(training, root, who.busy, steps)
                    bench.samples.add("S7 part of the steps saved", who.name, round, saved)
                elif isinstance(who, Saving):
                    took_s = _saving(training, savers[who.name], root, steps)
                else:
                    took_s = _alone(training, steps)
            bench.samples.add("S7 step", who.name, round, took_s / steps)

        ours = [_Run("skip"), _Run("wait")]
        others = [each for each in savings if each.name in savers]
        bench.rounds("S7", [_Nothing(), *ours, *others], turn, repeats=min(3, bench.scale.repeats))


def _alone(training: Training, steps: int) -> float:
    for _ in range(_FIRST):
        training.step()
    with timed() as seconds:
        for _ in range(steps):
            training.step()
        return seconds()


def _saving(training: Training, saver: Saver, root: Path, steps: int) -> float:
    """Two names in turn, so that one is complete while the other is written."""
    saver.begin(root)
    for number in range(_FIRST):
        training.step()
        saver.save(training.state_dicts(), f"step{number % 2}")
    saver.finish()
    with timed() as seconds:
        for number in range(steps):
            training.step()
            saver.save(training.state_dicts(), f"step{number % 2}")
        saver.finish()
        return seconds()


def _in_a_run(
    training: Training, root: Path, busy: Literal["skip", "wait"], steps: int
) -> tuple[float, float]:
    """Seconds of the steps after the first, and which part of all was saved."""
    policy = Checkpointing(save_on="batch_end", max_to_keep=2, write=Write(busy=busy))
    began_s = 0.0
    with Run(root / "run", training.objects, checkpointing=policy) as run:
        for number in run.steps(_FIRST + steps):
            if number == _FIRST:
                began_s = time.perf_counter()
            training.step()
    return time.perf_counter() - began_s, run.accounting.saves / (_FIRST + steps)
