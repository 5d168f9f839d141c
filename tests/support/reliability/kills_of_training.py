"""Real trainings, killed with SIGKILL at random instants and gone on with, until one gets through."""

from __future__ import annotations

import random
import time
from dataclasses import dataclass
from pathlib import Path

import holdfast
from tests.support import plans
from tests.support.nursery import Kill, Nursery
from tests.support.reliability.volumes import Volume, power_cut

PLANS = ("rich", "loader", "groups")
SAVING = {"durability": "full", **plans.SOMETIMES}


@dataclass
class Figures:
    kills: int = 0
    runs: int = 0
    saves: int = 0


class Killer:
    """Knows what each plan ends with when it is left alone, and how long that takes.

    `volume`: the runs are on it, and whenever one has ended its power is cut.
    """

    def __init__(
        self, nursery: Nursery, folder: Path, draw: random.Random, volume: Volume | None = None
    ) -> None:
        self._nursery, self._folder, self._draw, self._volume = nursery, folder, draw, volume
        self.figures = Figures()
        self._uninterrupted = {
            plan: nursery.run(plan, folder / f"uninterrupted of {plan}", saving=SAVING) for plan in PLANS
        }

    def kill_for(self, budget_s: float) -> None:
        """Kill one run after another for that long, one at least."""
        self.kill_one_run()
        until_s = time.monotonic() + budget_s
        while time.monotonic() < until_s:
            self.kill_one_run()

    def kill_one_run(self) -> None:
        """Kill a run and each of its resumes, until one gets through.

        Raises AssertionError if that one ends otherwise than uninterrupted, if a resume goes on from before the last
        acknowledged save, or if a checkpoint is damaged.
        """
        plan = PLANS[self.figures.runs % len(PLANS)]
        directory = (self._volume.path if self._volume else self._folder) / f"run {self.figures.runs}"
        self.figures.runs += 1
        uninterrupted = self._uninterrupted[plan]
        assert uninterrupted.digest is not None, uninterrupted.error
        newest = 0
        while True:
            log = self._folder / f"log {self.figures.runs} {self.figures.kills}"
            kill = Kill(after_s=self._draw.uniform(0.0, 0.7 * uninterrupted.seconds))
            outcome = self._nursery.run(plan, directory, kill, saving=SAVING, log=log)
            if self._volume is not None:
                power_cut(self._volume.path)
                self._volume.mount_again()
            newest = self._check_life(log, directory, newest)
            if not outcome.was_killed:
                break
            self.figures.kills += 1
        assert outcome.error is None, f"{plan} in {directory}: {outcome.error}"
        assert outcome.digest == uninterrupted.digest, (
            f"{plan} in {directory} ended in another state than uninterrupted"
        )
        assert outcome.verdict in (None, "exact"), outcome.verdict

    def _check_life(self, log: Path, directory: Path, newest: int) -> int:
        """Of one process; `newest` is the greatest seq that was there before. Returns what it is now."""
        lines = log.read_text().splitlines() if log.exists() else []
        origins = [int(line.removeprefix("from ")) for line in lines if line.startswith("from ")]
        acknowledged = lines.count("saved")
        self.figures.saves += acknowledged
        assert all(origin == newest for origin in origins), f"went on from {origins}, and {newest} was there"
        listed = holdfast.scan(directory) if directory.exists() else []
        for each in listed:
            with holdfast.open(each) as checkpoint:
                assert not (problems := checkpoint.verify()), problems
        now = max((each.record.seq for each in listed if each.record), default=0)
        assert now >= newest + acknowledged, f"{acknowledged} saves acknowledged after {newest}; found {now}"
        return now
