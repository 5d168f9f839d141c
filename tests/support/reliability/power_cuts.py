"""Real power cuts, one after another, of a file system that a process saves to."""

from __future__ import annotations

import random
from dataclasses import dataclass

from tests.support.reliability.numbered import Saver, held
from tests.support.reliability.saver import Job, Savers, Told
from tests.support.reliability.volumes import Volume, power_cut


@dataclass
class Figures:
    """How many cuts came after a save or deletion had returned, how many in the middle of one."""

    after: int = 0
    amid: int = 0
    saved: int = 0

    @property
    def cuts(self) -> int:
        return self.after + self.amid


def cut_once(
    savers: Savers,
    volume: Volume,
    told: Told,
    draw: random.Random,
    figures: Figures,
    *,
    forget: tuple[str, ...] = (),
    large: int = 8,
) -> None:
    """One life of a saving process, its end by a power cut, and what the disk has then.

    Raises AssertionError if something acknowledged is lost, something is half-visible, or the next save fails.
    """
    directory = volume.path / "runs" / "deep"
    done = told.done
    job = {"directory": str(directory), "seed": draw.randrange(1 << 30), "forget": forget, "large": large}
    if figures.after <= figures.amid:
        figures.after += 1
        operations = draw.randint(1, 4)
        savers.run(Job(first=told.last + 1, operations=operations, cut=str(volume.path), **job), told)
        assert not told.refused, "a save was refused before the power was cut"
    else:
        figures.amid += 1
        after_s = draw.expovariate(1 / 0.02)
        savers.run_for(Job(first=told.last + 1, **job), told, after_s, lambda: power_cut(volume.path))
        told.refused = 0
    figures.saved += told.done - done
    volume.mount_again()
    told.check(held(directory))
    saver = Saver(directory)
    saver.learn_all()
    told.hear("begun", "rolling", told.last + 1)
    saver.save(told.last, "rolling")
    told.hear("done", "rolling", told.last)
    told.check(held(directory))
