"""How exactly a run resumes: found out once all is in its place, said once, and what is found later said once more."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, final

from ... import fingerprint
from ...records import CheckpointRecord
from ...verdict import Verdict
from .._together.ranks import ALONE, Ranks
from .earlier import again, differences_before, note, unsaved_before
from .expected import Ahead, fingerprint_of
from .expected import differences as ahead_differences
from .rollbacks import Rollbacks
from .said import say
from .saved_state import SavedState

logger = logging.getLogger("holdfast")

_KEPT: Final = "the checkpoint's hyperparameters are used"
_AT_RANK: Final = "at rank {}, "


@final
@dataclass(frozen=True)
class ResumeReport:
    """From where a run resumed, and how exactly. It is read only, and current: what is found later is in it too.

    Attributes:
        path, record: the checkpoint.
        skipped: newer checkpoints that could not be used, or whose age is unknown, and why.
    """

    path: str
    record: CheckpointRecord
    skipped: tuple[str, ...]
    _resumption: Resumption = field(repr=False, compare=False)

    @property
    def rank(self) -> Verdict:
        """The verdict as a word that can be compared: `rank >= Verdict.EXACT`."""
        return Verdict.of(self.verdict)

    @property
    def differences(self) -> tuple[str, ...]:
        """What keeps the run from being exact, one sentence each, the gravest first; earlier resumes that led to the checkpoint included."""
        return tuple(self._resumption.differences)

    @property
    def unsaved(self) -> tuple[str, ...]:
        """The script's variables that had moved and could not be saved: they start from their beginning, and may decide what comes next."""
        return tuple(self._resumption.unsaved)

    @property
    def kept(self) -> tuple[str, ...]:
        """The hyperparameters that the script has changed and of which the checkpoint's value is used, a sentence each."""
        return tuple(self._resumption.kept)

    @property
    def verdict(self) -> str:
        """`"exact"`; `"exact but for: "` and the names in `unsaved`; or `"not exact: "` and the first of the differences.

        `"proved"` where it would be `"exact"` and `Resume(prove=True)` has shown it. The first two also say what is in
        `kept`, after `"; "`: the run continues as it was, and that is not what its script says now.

        `"not compared yet"` between the restore and the start of training, where what comes next is compared.
        """
        if self.differences:
            return f"not exact: {self.differences[0]}"
        if not self._resumption.is_announced:
            return "not compared yet"
        kept = f"; {_KEPT}: {'; '.join(self.kept)}" if self.kept else ""
        if self.unsaved:
            return f"exact but for: {', '.join(self.unsaved)}{kept}"
        return ("proved" if self._resumption.is_proved else "exact") + kept


@final
class Resumption:
    """A run's own side of its resume: only from here do differences get into `report`.

    Args:
        path, record, skipped: as in the report.
        context: what was kept, and versions and settings that differ, which only may make a difference.
        for_once: what is no difference any more once the run has resumed.
        ranks: who resume together; what one finds different, all say.

    What was not exact in the resumes that led to the checkpoint is so in this one.
    """

    def __init__(
        self,
        path: str,
        record: CheckpointRecord,
        skipped: Iterable[str],
        context: Iterable[str],
        for_once: Iterable[str] = (),
        ranks: Ranks = ALONE,
    ) -> None:
        self._ranks, self._next = ranks, record.details.get("next")
        self.differences = [*for_once, *differences_before(record)]
        self._for_once = {*for_once}
        self._insert(len(self.differences), context)
        self._num_compared = 0  # of them, the first: what comes out differently, before what only may be why
        self.is_announced = False
        self.is_open = False  # the next batch is still to be compared
        self._came_back: Sequence[str] = ()
        self.is_proved = False  # the steps before the checkpoint were done again, to the same bits
        self._unsaved = unsaved_before(record)
        self._is_ignored: Callable[[str], bool] = lambda name: False
        self.kept: list[str] = []
        self._told: list[object] = []
        self._expected: tuple[SavedState, Callable[[], Mapping[str, Any]]] | None = None
        self.report = ResumeReport(path, record, tuple(skipped), self)

    @property
    def switches(self) -> dict[str, str]:
        """Under which switches the run was training, as the checkpoint says, which may say anything."""
        saved = self.report.record.details.get("switches")
        return {str(name): str(value) for name, value in saved.items()} if isinstance(saved, Mapping) else {}

    @property
    def unsaved(self) -> list[str]:
        """The script's variables that were lost, now or earlier, and that it has not said to ignore."""
        return [each for each in self._unsaved if not self._is_ignored(each)]

    @property
    def noted(self) -> dict[str, Any]:
        """How exactly the run resumed, for the record of what it saves. A rollback is no resume: an uninterrupted run has it too."""
        lasting = [each for each in self.differences if each not in self._for_once]
        return {"from": self.report.record.id, "verdict": self.report.verdict} | note(
            lasting, self.unsaved, is_compared=self.is_announced
        )

    def expect(self, saved: SavedState, live: Callable[[], Mapping[str, Any]]) -> None:
        """Let `announce` compare the live state with what the checkpoint holds."""
        self._expected = saved, live

    def announce(
        self,
        ahead: Callable[[], Ahead],
        found: Iterable[str] = (),
        rollbacks: Rollbacks | None = None,
        came_back: Sequence[str] = (),
        *,
        is_measured: bool = False,
    ) -> None:
        """All is in its place, random states included: compare what comes next with what should, and log the verdict.

        `found`: what else the training loop or its framework finds different. `came_back`: the script's variables that
        were put back. A rollback that is due then seeds the random states anew, which no longer are what they were.
        `is_measured`: the next batch is still to be compared, and there is no verdict before `conclude`.
        """
        record = self.report.record
        upcoming = ahead_differences(self._next, fingerprint_of(ahead()))
        upcoming += fingerprint.differences(self.switches, fingerprint.switches())
        rolled_back = None if rollbacks is None else rollbacks.reseed(record.run)
        if rolled_back is None:
            self.add([*found, *self._spoiled(), *upcoming])
        else:  # and the script may make its steps smaller
            self._for_once.add(rolled_back)
            self.add([*found, *upcoming, rolled_back])
        self._came_back, self.is_open = came_back, is_measured
        if not is_measured:
            self.conclude()

    def conclude(self, found: Iterable[str] = ()) -> None:
        """All is compared, and this was found besides: log the verdict.

        Raises:
            CrewError: another rank has not come to this.
        """
        self.add(found)
        if self._ranks.are_several:
            self._hear_others()
        self.is_open, self.is_announced = False, True
        is_plain = self.report.rank >= Verdict.EXACT and not self.kept
        variables = f"; variables put back: {', '.join(self._came_back)}" if self._came_back else ""
        kept = f"; {_KEPT}: {'; '.join(self.kept)}" if self.kept and self.differences else ""
        said = f"resumed from {self.report.path}: {self.report.verdict}{variables}{kept}"
        say(logging.INFO if is_plain else logging.WARNING, said)

    def of_rank(self, saved: Mapping[str, Any]) -> None:
        """What one of several ranks has saved for itself: what it would have found next, and what it was not exact in before."""
        self._next = saved.get("next")
        noted = replace(self.report.record, details={"resume": saved.get("resume")})
        self._insert(len(self.differences), differences_before(noted))
        self._unsaved = list(dict.fromkeys([*self._unsaved, *unsaved_before(noted)]))

    def _hear_others(self) -> None:
        each = self._ranks.each(lambda: json.dumps([self.differences, self.unsaved]))
        for rank, said in enumerate(each):
            if rank != self._ranks.rank:
                differences, unsaved = json.loads(said)
                there = {each.removeprefix(_AT_RANK.format(rank)) for each in self.differences}
                self.add(_AT_RANK.format(rank) + each for each in differences if each not in there)
                self._unsaved = list(dict.fromkeys([*self._unsaved, *unsaved]))

    def lack(self, unsaved: Iterable[str], is_ignored: Callable[[str], bool]) -> None:
        """These variables of the script are not in the checkpoint, and should be, unless they are ignored."""
        self._unsaved = list(dict.fromkeys([*unsaved, *self._unsaved]))
        self._is_ignored = is_ignored

    def keep(self, kept: Iterable[str]) -> None:
        """The script says otherwise of these hyperparameters, and the checkpoint's values are used: a sentence each."""
        self.kept = list(dict.fromkeys([*self.kept, *kept]))

    def _spoiled(self) -> list[str]:
        if self._expected is None:
            return []
        (saved, live), self._expected = self._expected, None
        return saved.differences(live())

    def add(self, found: Iterable[str]) -> None:
        """Let the report say these differences too; once the verdict is in the log, with a further line there."""
        new = self._insert(self._num_compared, found)
        self._num_compared += len(new)
        if self.is_announced and new:
            logger.warning("since the resume from %s: not exact: %s", self.report.path, "; ".join(new))

    def _insert(self, place: int, found: Iterable[str]) -> list[str]:
        """Those that are new, from now on at this place; what is so now need not be said of an earlier resume."""
        new = [each for each in dict.fromkeys(found) if each not in self.differences]
        self.differences[place:place] = new
        said_again = {again(each) for each in new if again(each) != each}
        self.differences[:] = [each for each in self.differences if each not in said_again]
        return new

    def tell(self, on_saved: object) -> None:
        """Let what was told of each checkpoint go back to this one, if it can; once, however many policies name it.

        What it raises is logged: it is told of a run, and must not end it.
        """
        rewind = getattr(on_saved, "rewind", None)
        if rewind is None or any(each is on_saved for each in self._told):
            return
        self._told.append(on_saved)
        try:
            rewind(self.report.record)
        except Exception:
            name = self.report.record.name
            logger.exception("%s could not be taken back to %s", type(on_saved).__name__, name)
