"""The lives of one script that is checked: each saves below one directory, and writes down what it saw."""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ..bundle import Listed
from ..checkpoint import open as open_checkpoint
from ..errors import NothingProvedError
from ._life import LIFE, Life
from ._replay import DIRECTORY, facts_of
from ._script import PLACEHOLDER, Script
from ._trace import Glimpse, read_trace

_FEWEST = 3  # hooks at which it can save: to resume from one, to lose one, to compare one
_LARGE_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Course:
    """How the script is run.

    Attributes:
        steps: how many batches, or ends of epochs, it trains for.
        every: after how many of them it saves.
        seed: for where it is killed.
        events: changes of the disk, counted from 1, before each of which it is killed as well.
    """

    steps: int
    every: int
    seed: int
    events: Sequence[int] | range = ()


class Lives:
    """The lives of one script below a directory of its own."""

    def __init__(self, command: Sequence[str], directory: str, course: Course) -> None:
        self.script = Script(command, directory)
        self._course = course
        self._num_lives = 0

    def live(self, last: int, **more: int) -> tuple[int, list[Glimpse]]:
        """One more life, as far as the counted hook `last`; its exit code, and what was seen."""
        self._num_lives += 1
        trace = f"{self.script.directory}.trace{self._num_lives}"
        life = Life(trace, self._course.every, last, **more)
        return self.script.run(told={LIFE: life.to_text()}), read_trace(trace)

    def uninterrupted(self, last: int) -> list[Glimpse]:
        code, seen = self.live(last)
        if code:
            raise NothingProvedError(
                f"the script fails even uninterrupted, with exit code {code}: {self.script.last_words}"
            )
        if self.script.newest() is None:
            raise NothingProvedError(
                "the script saved no checkpoint where it should: Holdfast's runs do so by themselves, "
                f"everything else has to use {PLACEHOLDER} in the command or ${DIRECTORY}."
            )
        if seen[-1].number < _FEWEST:
            raise NothingProvedError(
                f"the script ended after {seen[-1].number} of the batches and epochs at whose end a run can save; at "
                f"least {_FEWEST} are needed."
            )
        return seen

    def holds(self) -> list[str]:
        """The names of what its checkpoints hold."""
        newest = self.script.newest()
        if newest is None:
            return []
        with open_checkpoint(newest) as checkpoint:
            tree = checkpoint.tree()
            return list(tree) if isinstance(tree, dict) else []

    def copy_to(self, other: Lives, seen: Sequence[Glimpse], at: int) -> None:
        """Give another life this one's directory as it was at the counted hook `at`."""
        shutil.copytree(self.script.directory, other.script.directory, copy_function=_link)
        for listed in other.script.checkpoints():
            if number_of(listed, seen) > at:
                shutil.rmtree(listed.path)

    def checkpoints(self) -> Iterator[tuple[object, Listed]]:
        """Each checkpoint with what identifies it in every life: where its run was; oldest first."""
        times: Counter[object] = Counter()
        for listed in self.script.checkpoints():
            assert listed.record is not None
            facts = tuple(facts_of(listed.record.moment).items())
            times[facts] += 1
            yield (facts, times[facts]), listed


@dataclass(slots=True)
class Known:
    """The uninterrupted lives, and what was seen in them."""

    lives: Lives
    seen: Sequence[Glimpse]
    again: Sequence[Glimpse] = ()

    @property
    def has_epochs(self) -> bool:
        return any(each.moment["hook"] == "epoch_start" for each in self.seen)

    @property
    def first_end(self) -> int:
        """The counted hook that is the first end of an epoch; 0 if there is none."""
        return next((each.number for each in self.seen if each.moment["hook"] == "epoch_end"), 0)


def _link(source: str, target: str) -> None:
    """Copy a file, without its bytes if they are many: what a run has saved it does not change."""
    if os.path.getsize(source) > _LARGE_BYTES:
        os.link(source, target)
    else:
        shutil.copy2(source, target)


def number_of(listed: Listed, seen: Sequence[Glimpse]) -> int:
    """The counted hook at which it was saved, or the last one before it if a script has saved between two."""
    assert listed.record is not None
    facts = facts_of(listed.record.moment)
    before = (each.number for each in seen if each.moment["step"] <= facts["step"])
    return next((each.number for each in seen if each.moment == facts), max(before, default=0))
