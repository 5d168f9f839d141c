"""Deciding in two moves at which hook all ranks of a run hear what one of them has learnt by itself.

Rank 0 proposes. Each rank answers with a hook that it will not pass before it has heard more, and with what it wants. Rank 0
decides for the last of these hooks; there all take what any of them wants. An answer needs no training: so a rank that is held at
a hook never waits for one that waits for it in a collective.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, final

from ..._wording import ranks_in_words
from ...errors import CrewError

Facts = Mapping[str, Any]
"""What somebody wants, by name, as plain data."""


@final
class TwoMoves:
    """One rank's part, without board, thread and clock; decisions come in rounds, one after another.

    Attributes:
        round: from 1; messages of one round have nothing to do with those of another.
        wants: what this rank wants all to hear.
        failure: why nothing can be decided any more, in words; None if all is well.
    """

    def __init__(self, rank: int, size: int, timeout_s: float) -> None:
        self.round = 1
        self.wants: Facts = {}
        self.failure: str | None = None
        self._rank, self._size, self._timeout_s = rank, size, timeout_s
        self._num_hooks = 0
        self._seen = 0, 0  # `_num_hooks` at the two looks before
        self._limit: int | None = None  # the hook that is not passed before the decision
        self._at: int | None = None  # the hook decided for
        self._facts: Facts = {}
        self._has_called = False
        self._answers: Mapping[int, Mapping[str, Any]] = {}
        self._proposed_s = 0.0

    # --- at hooks ---------------------------------------------------------------------------------

    @property
    def is_open(self) -> bool:
        """Whether a decision is under way, or has to be heard."""
        return self._limit is not None or self.failure is not None

    @property
    def is_held(self) -> bool:
        """Whether it has to wait at the hook to which it has come."""
        is_undecided = self._limit is not None and self._at is None and self.failure is None
        return is_undecided and self._num_hooks >= (self._limit or 0)

    def come(self) -> None:
        """It comes to the next hook."""
        self._num_hooks += 1

    def take(self) -> Facts:
        """What all hear at this hook; a new round begins with it."""
        if self._at != self._num_hooks:
            return {}
        facts = self._facts
        self.round, self.wants = self.round + 1, {}
        self._limit = self._at = None
        self._has_called, self._answers = False, {}
        return facts

    # --- between them -----------------------------------------------------------------------------

    def asks(self) -> list[str]:
        """The messages that it waits for now."""
        if self.failure is not None or self._at is not None:
            return []
        if self._rank:
            return ["proposed" if self._limit is None else "decided"]
        if self._limit is None:
            return [] if self.wants else ["wanted"]
        return [f"answer/{rank}" for rank in range(1, self._size) if rank not in self._answers]

    def hear(self, found: Mapping[str, bytes], now_s: float) -> dict[str, bytes]:
        """These messages of `asks` are there; what it has to tell. Whatever is told is told after this has returned."""
        before, self._seen = self._seen[0], (self._seen[1], self._num_hooks)
        if self.failure is not None or self._at is not None:
            return {}
        if self._limit is None:
            return self._begun(found, now_s, self._num_hooks - before)
        if self._rank:
            if "decided" in found:
                self._obey(found["decided"])
            return {}
        said = {int(key.removeprefix("answer/")): json.loads(each) for key, each in found.items()}
        self._answers = {**self._answers, **said}
        is_late = now_s - self._proposed_s >= self._timeout_s
        if len(self._answers) < self._size - 1 and not is_late:
            return {}
        decided = self._decision()
        self._obey(decided)
        return {"decided": decided}

    def leave(self) -> dict[str, bytes]:
        """What to tell when it takes part no more."""
        if self._rank == 0:
            # As of a proposal: else those that wait for one would not hear it.
            decided = _encoded(failure="the run was left by rank 0")
            return {"decided": decided, "proposed": b"+"} if self._at is None else {}
        return {f"answer/{self._rank}": _encoded(left=True)} if self._limit is None else {}

    def _begun(self, found: Mapping[str, bytes], now_s: float, num_recent: int) -> dict[str, bytes]:
        if found or (self._rank == 0 and self.wants):
            # As far ahead as it has come lately, so that it is not held while the others still look.
            self._limit = self._num_hooks + max(1, num_recent)
            self._proposed_s = now_s
            if self._rank == 0:
                return {"proposed": b"+"}
            return {f"answer/{self._rank}": _encoded(limit=self._limit, wants=self.wants)}
        if self._rank and self.wants and not self._has_called:
            self._has_called = True
            return {"wanted": b"+"}
        return {}

    def _decision(self) -> bytes:
        missing = [rank for rank in range(1, self._size) if rank not in self._answers]
        gone = [rank for rank, each in self._answers.items() if each.get("left")]
        if gone:
            return _encoded(failure=f"the run was left by {ranks_in_words(gone)}")
        if missing:
            return _encoded(failure=str(CrewError.silent(missing, self._timeout_s)))
        answers = [
            {"limit": self._limit, "wants": self.wants},
            *map(self._answers.__getitem__, range(1, self._size)),
        ]
        at = max(each["limit"] for each in answers)
        return _encoded(at=at, facts=merged([each["wants"] for each in answers]))

    def _obey(self, decided: bytes) -> None:
        said = json.loads(decided)
        self.failure = said.get("failure")
        if self.failure is None:
            self._at, self._facts = said["at"], said["facts"]


def merged(wants: Sequence[Facts]) -> Facts:
    """What any of them wants; of several who want one thing, the first."""
    return {name: value for each in reversed(wants) for name, value in each.items()}


def _encoded(**said: Any) -> bytes:
    return json.dumps(said).encode()
