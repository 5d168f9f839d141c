"""What the ranks of a run hear at one and the same hook, though only some of them have learnt it: time, signals, requests.

The ranks talk in a thread of their own, which training need not wait for: a step on which nobody wants anything costs a counter.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from typing import Any, Final, final

from ...crew import Crew
from ...errors import CrewError
from ...policy import Spent
from .ranks import Ranks
from .two_moves import Facts, TwoMoves, merged

_FIRST_S: Final = 0.001
_OPEN_S: Final = 0.005  # between two looks, while a decision is under way
_IDLE_S: Final = 0.1
_OF_EACH_RANK_S: Final = 0.0002  # so that a store is asked 5,000 times a second at most
_LEAVES_WITHIN_S: Final = 5.0
_NOT_YET: Final = Spent(elapsed_s=0.0, cost_s=float("inf"))
"""The time of which nothing is known yet: it asks for no save, and allows none."""


@final
class Agreement:
    """The decisions of one run, as one rank hears them.

    Args:
        ranks: all of them.
        crew: the same, for talks beside those of `ranks`.
    """

    def __init__(self, ranks: Ranks, crew: Crew) -> None:
        self._ranks, self._crew = ranks, crew
        self._moves = TwoMoves(crew.rank, crew.size, crew.timeout_s)
        self._changed = threading.Condition()  # guards `_moves`
        self._has_ended = threading.Event()
        self._round, self._talk = 1, crew.talk()
        self._known, self._num_saves = _NOT_YET, 0
        self._said: object = None  # by the policy, of `_known`; None: not asked yet

    @contextmanager
    def talking(self) -> Iterator[None]:
        """Talk with the others meanwhile."""
        thread = threading.Thread(target=self._run, name="holdfast-agreement", daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._has_ended.set()
            thread.join(_LEAVES_WITHIN_S)  # it may be stuck in a store that is gone

    # --- at hooks ---------------------------------------------------------------------------------

    def passes(self) -> bool:
        """Whether nothing is to be heard at the hook to which this rank has come; it is counted then."""
        with self._changed:
            if self._moves.is_open:
                return False
            self._moves.come()
            return True

    def want(self, name: str, value: Any) -> None:
        """Let all hear this, at a hook soon; None: it is not wanted any more."""
        with self._changed:
            if self._moves.wants.get(name) != value:
                others = {each: wanted for each, wanted in self._moves.wants.items() if each != name}
                self._moves.wants = others if value is None else {**others, name: value}

    def at_hook(self, *, is_last: bool) -> Facts:
        """What all hear at the hook to which this rank has come; at the last one all that any of them wants.

        Raises:
            CrewError: a rank does not answer, or has left; the error names it.
        """
        with self._changed:
            self._moves.come()
            wants = self._moves.wants
            patience_s = 2 * self._crew.timeout_s
            if not is_last and not self._changed.wait_for(lambda: not self._moves.is_held, patience_s):
                raise CrewError.silent([0], patience_s)
            if self._moves.failure is not None:
                raise CrewError(self._moves.failure)
            facts = self._moves.take()
        if is_last:  # there is no later one for a decision that is under way
            facts = merged([json.loads(each) for each in self._ranks.each(lambda: json.dumps(wants))])
        if "time" in facts and facts["time"]["saves"] == self._num_saves:
            self._known, self._said = Spent(**facts["time"]["spent"]), None
        return facts

    # --- time -------------------------------------------------------------------------------------

    def time(self, spent: Spent, says: Callable[[Spent], object]) -> Spent:
        """The time that all ranks know alike: as of rank 0, since when `says` has said the same of it.

        Args:
            spent: that of this rank, at this hook.
            says: what the policy says of a time.
        """
        if self._ranks.leads:
            self._said = says(self._known) if self._said is None else self._said
            is_other = says(spent) != self._said
            self.want("time", {"saves": self._num_saves, "spent": asdict(spent)} if is_other else None)
        return self._known

    def saved(self) -> None:
        """All have saved, or tried to: what was known of the time holds no more."""
        self._known, self._said, self._num_saves = _NOT_YET, None, self._num_saves + 1

    # --- the thread -------------------------------------------------------------------------------

    def _run(self) -> None:
        each_s = _OF_EACH_RANK_S * self._crew.size
        pause_s = _FIRST_S
        try:
            while not self._has_ended.wait(pause_s):
                longest_s = max(each_s, _OPEN_S if self._moves.is_open else _IDLE_S)
                pause_s = max(_FIRST_S, each_s) if self._look() else min(2 * pause_s, longest_s)
            with suppress(CrewError):
                for each, data in self._moves.leave().items():
                    self._crew.tell(self._key(each), data)
        except Exception as err:  # else who is held would wait for it in vain
            with self._changed:
                self._moves.failure = str(err)
                self._changed.notify_all()

    def _look(self) -> bool:
        """Hear and say what there is by now; whether there was anything."""
        with self._changed:
            asked = {self._key(each): each for each in self._moves.asks()}
        found = self._crew.wait([*asked], 0.0) if asked else {}
        with self._changed:
            said = {asked[key]: data for key, data in found.items()}
            messages = self._moves.hear(said, self._crew.now_s())
            to_tell = {self._key(each): data for each, data in messages.items()}
            self._changed.notify_all()
        for key, data in to_tell.items():
            self._crew.tell(key, data)
        if "decided" in (*said, *messages):
            self._crew.forget_earlier()  # all have answered, so they are in this round
        return bool(found or to_tell)

    def _key(self, message: str) -> str:
        if self._round < self._moves.round:
            self._round, self._talk = self._moves.round, self._crew.talk()
        return f"{self._talk}/{message}"
