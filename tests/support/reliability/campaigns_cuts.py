"""Long campaigns of kills, power cuts and full disks, for `make torture`: each goes on until its time is up.

`CAMPAIGNS[name](budget_s, seed)` returns one line of figures; a broken promise is an AssertionError. What this
machine cannot do comes back as a line that begins with "skipped". Each does one round at least, and what it has to
set up first is not taken from its time.
"""

from __future__ import annotations

import random
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.support.reliability import full_disks, power_cuts, second_kernel
from tests.support.reliability.leftovers import (
    bytes_referenced,
    bytes_there,
    kill,
    let_a_day_pass,
    one_operation_s,
    save_each_again,
)
from tests.support.reliability.saver import Savers, Told
from tests.support.reliability.volumes import SMALL_EXT4, SMALL_TMPFS, TO_CUT, XFS, Kind, Volume, lacking


def cut_power(budget_s: float, seed: int) -> str:
    draw, cuts, notes = random.Random(seed), Counter[str](), []
    kinds = [*_available(TO_CUT, notes)]
    saved = 0
    with Savers() as savers:
        for kind, until_s in _shares(kinds, budget_s):
            while time.monotonic() < until_s:
                told, figures = Told(), power_cuts.Figures()
                with Volume(kind) as volume:  # a new one now and then: what has grown old on it is swept
                    while time.monotonic() < until_s and figures.cuts < 200:
                        power_cuts.cut_once(savers, volume, told, draw, figures)
                cuts[kind.name] += figures.cuts
                cuts["after a save had returned"] += figures.after
                cuts["amid one"] += figures.amid
                saved += figures.saved
    return _line(notes, [f"{count} {what}" for what, count in cuts.items()], f"{saved} saves, 0 lost")


def kill_trainings(budget_s: float, seed: int) -> str:
    from tests.support.reliability.kills_of_training import Killer, Nursery  # imports torch

    with tempfile.TemporaryDirectory() as folder, Nursery() as nursery:
        killer = Killer(nursery, Path(folder), random.Random(seed))
        killer.kill_for(budget_s)
    figures = killer.figures
    return (
        f"{figures.kills} kills of {figures.runs} trainings, {figures.saves} saves acknowledged: "
        "0 lost, every end the same to the bit"
    )


def cut_power_of_trainings(budget_s: float, seed: int) -> str:
    from tests.support.reliability.kills_of_training import Killer, Nursery

    if why := lacking(XFS):
        return f"skipped: {why}"
    with tempfile.TemporaryDirectory() as folder, Volume(XFS) as volume, Nursery() as nursery:
        killer = Killer(nursery, Path(folder), random.Random(seed), volume)
        killer.kill_for(budget_s)
    figures = killer.figures
    return (
        f"{figures.kills + figures.runs} power cuts on xfs during {figures.runs} trainings, {figures.saves} saves "
        "acknowledged: 0 lost, every end the same to the bit"
    )


def fill_disks(budget_s: float, seed: int) -> str:
    draw, notes, figures = random.Random(seed), [], full_disks.Figures()
    kinds = [*_available((SMALL_TMPFS, SMALL_EXT4), notes)]
    for kind, until_s in _shares(kinds, budget_s):
        while time.monotonic() < until_s:
            with Volume(kind) as volume:
                disk = full_disks.FullDisk(volume, size_bytes=draw.choice([64 << 10, 1 << 20, 5 << 20]))
                needs = {save: disk.need(save) for save in full_disks.SAVES}
                for _ in range(50):
                    if time.monotonic() > until_s:
                        break
                    save = draw.choice(full_disks.SAVES)
                    size, inodes = needs[save]
                    if draw.random() < 0.8:
                        disk.try_with(save, figures, free_bytes=int(draw.uniform(0, 1.1) * size))
                    else:
                        disk.try_with(save, figures, free_inodes=draw.randint(0, inodes + 1))
    return _line(
        notes, [f"{figures.cases} saves onto full disks, {figures.refused} refused"], "0 harmed anything"
    )


def leave_behind(budget_s: float, seed: int) -> str:
    draw, kills = random.Random(seed), 0
    until_s = time.monotonic() + budget_s
    with Savers() as savers:
        while time.monotonic() < until_s:
            with tempfile.TemporaryDirectory() as folder:
                directory, told = Path(folder, "runs"), Told()
                operation_s = one_operation_s(savers, directory, told)
                for _ in range(200):
                    kill(savers, directory, told, draw, operation_s)
                    kills += 1
                    if time.monotonic() > until_s:
                        break
                let_a_day_pass(directory)
                save_each_again(directory, told)
                there, referenced = bytes_there(directory), bytes_referenced(directory)
                assert there <= 1.01 * referenced, f"{there} bytes there, {referenced} referenced"
    return f"{kills} kills of savers: 0 lost, nothing half-visible, nothing left behind a day later"


def _available(kinds: tuple[Kind, ...], notes: list[str]) -> Iterator[Kind]:
    for kind in kinds:
        if why := lacking(kind):
            notes.append(why)
        else:
            yield kind


def _shares(kinds: list[Kind], budget_s: float) -> Iterator[tuple[Kind, float]]:
    began_s = time.monotonic()
    for number, kind in enumerate(kinds, 1):
        yield kind, began_s + budget_s * number / len(kinds)


def _line(notes: list[str], done: list[str], verdict: str) -> str:
    if not any(done) or (notes and not done):
        return f"skipped: {'; '.join(notes)}"
    return ", ".join(done) + f": {verdict}" + "".join(f" (without {note})" for note in notes)


CAMPAIGNS: dict[str, Callable[[float, int], str]] = {
    "power cuts": cut_power,
    "kills of training": kill_trainings,
    "power cuts of training": cut_power_of_trainings,
    "disk full": fill_disks,
    "leftovers": leave_behind,
    "second kernel": second_kernel.campaign,
}
