"""A user's script run uninterrupted, killed, and on a full disk: does it reach the same state each time?"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from ..bundle import Listed
from ..compare import unlike
from ..errors import ExactnessError, UsageError
from ._replay import DIRECTORY, facts_of
from ._script import PLACEHOLDER, Injury, Script

Tell: TypeAlias = Callable[[str], None]


@dataclass(slots=True)
class Trial:
    """A run in a directory of its own, with its interruptions, and how its end compares with that of the uninterrupted run.

    Attributes:
        checkpoint: its last checkpoint, at the same place as the uninterrupted run's if `same`.
        differs: state paths at which it differs from the uninterrupted run's last.
        since: the first checkpoint of both that differs; None if none does, or if there are none in both.
    """

    directory: str
    injuries: list[Injury] = field(default_factory=list)
    checkpoint: str | None = None
    differs: list[str] = field(default_factory=list)
    since: str | None = None

    @property
    def same(self) -> bool:
        return not self.differs


@dataclass(slots=True)
class Torture:
    """The report: `uninterrupted_s` is how long the uninterrupted run trained, in seconds."""

    directory: str
    uninterrupted_s: float
    checkpoints: int
    last: str
    steps: int
    trials: list[Trial] = field(default_factory=list)

    @property
    def proved(self) -> bool:
        """Whether each trial was interrupted while it trained; if not, that it is the `same` says nothing."""
        return all(trial.injuries for trial in self.trials)

    @property
    def same(self) -> bool:
        return all(trial.same and not any(each.damaged for each in trial.injuries) for trial in self.trials)


def torture(
    command: Sequence[str],
    directory: str,
    *,
    kills: int,
    full_disks: int,
    seed: int,
    tell: Tell,
) -> Torture:
    """Run `command` once uninterrupted, then interrupted; each run saves below its own folder in `directory`.

    Args:
        kills: how often a second run is killed (SIGKILL, its children too) before it may finish.
        full_disks: how often a third run meets a disk that cuts files short before it may finish.
        seed: for the instants and sizes.
        tell: gets a line of text for each step.

    Raises:
        UsageError: the script cannot be run, fails uninterrupted, or saves nothing.
        ExactnessError: it does not resume after an interruption.
    """
    undisturbed = Script(command, f"{directory}/uninterrupted")
    tell("uninterrupted: running the script once")
    code = undisturbed.run()
    if code:
        raise UsageError(
            f"the script fails even uninterrupted, with exit code {code}: {undisturbed.last_words}"
        )
    there, last = undisturbed.checkpoints(), undisturbed.newest()
    if last is None or last.record is None:
        raise UsageError(
            "the script saved no checkpoint where it should: Holdfast's runs do so by themselves, "
            f"everything else has to use {PLACEHOLDER} in the command or ${DIRECTORY}."
        )
    report = Torture(
        directory, undisturbed.trained_s, len(there), undisturbed.name_of(last), last.record.moment.step
    )
    draw = random.Random(seed)
    for folder, interrupt, times in (("killed", _kill, kills), ("full", _fill_disk, full_disks)):
        if times:
            script = Script(command, f"{directory}/{folder}")
            trial = Trial(script.directory)
            interrupt(script, undisturbed, trial, times, draw, tell)
            _finish(script, undisturbed, trial)
            report.trials.append(trial)
    return report


def _kill(
    script: Script, undisturbed: Script, trial: Trial, times: int, draw: random.Random, tell: Tell
) -> None:
    instants = sorted(draw.uniform(0.02, 0.98) * undisturbed.trained_s for _ in range(times))
    before_s = 0.0
    for instant_s in instants:
        if script.run(kill_after_s=instant_s - before_s) >= 0:
            tell(f"killed: the script ended before kill {len(trial.injuries) + 1} of {times}")
            break
        injury = script.examine("killed")
        trial.injuries.append(injury)
        tell(f"killed after {injury.at_s:.2f} s of training: {_loss(injury)}")
        before_s = instant_s


def _fill_disk(
    script: Script, undisturbed: Script, trial: Trial, times: int, draw: random.Random, tell: Tell
) -> None:
    largest = undisturbed.largest_file_bytes()
    for _ in range(times):
        limit = draw.randrange(1, largest)
        code = script.run(largest_file_bytes=limit)
        injury = script.examine("disk full")
        injury.limit_bytes, injury.exit_code = limit, code
        trial.injuries.append(injury)
        tell(f"files cut at {limit:,} bytes, the script ended with {code}: {_loss(injury)}")


def _loss(injury: Injury) -> str:
    steps = "" if injury.lost_steps is None else f"{injury.lost_steps} steps, "
    where = injury.resumes_from or "the beginning"
    return f"resumes from {where}; lost {steps}{injury.lost_s:.2f} s"


def _finish(script: Script, undisturbed: Script, trial: Trial) -> None:
    """Let the script finish, and compare its last checkpoint."""
    code = script.run()
    if code:
        raise ExactnessError(
            f"the script did not resume in {script.directory}: it ended with exit code {code}: {script.last_words}"
        )
    expected, found = undisturbed.newest(), script.newest()
    assert expected is not None
    trial.checkpoint = None if found is None else script.name_of(found)
    trial.differs = ["there is no checkpoint"] if found is None else _differences(expected, found)
    if trial.differs:
        trial.since = _first_difference(undisturbed, script)


def _differences(expected: Listed, found: Listed) -> list[str]:
    assert expected.record is not None
    assert found.record is not None
    places = [(each.name, facts_of(each.moment)) for each in (expected.record, found.record)]
    if places[0] != places[1]:
        then, now = (f"{name} at step {at['step']}" for name, at in places)
        return [f"the last checkpoint: it is {now}, not {then}"]
    return unlike(expected, found)


def _first_difference(undisturbed: Script, script: Script) -> str | None:
    there = {script.name_of(listed): listed for listed in script.checkpoints()}
    for listed in undisturbed.checkpoints():
        other = there.get(undisturbed.name_of(listed))
        if other is not None and _differences(listed, other):
            return undisturbed.name_of(listed)
    return None
