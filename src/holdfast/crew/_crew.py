"""A process's view of its crew: who it is, and waiting for the others with a time limit."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence

from ..errors import CrewError, UsageError
from ._board import Board

_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.001, 0.1


class Crew:
    """The processes that save and restore together, as one of them sees it.

    All of them must make the same calls in the same order: save, save, restore. Rank 0 leads.

    Args:
        rank: the number of this process, from 0.
        size: how many processes there are.
        board: where they leave messages; all must see the same.
        timeout_s: how long, in seconds, rank 0 waits for the others in one step. They wait for it for twice as long.
        clock, sleep: for tests.
    """

    def __init__(
        self,
        rank: int,
        size: int,
        board: Board,
        *,
        timeout_s: float = 600.0,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        if not 0 <= rank < size:
            raise UsageError(f"a crew of {size} has the ranks 0 to {size - 1}, not {rank}")
        if not timeout_s > 0:
            raise UsageError(f"timeout_s must be more than 0, not {timeout_s}")
        self.rank, self.size, self.timeout_s = rank, size, timeout_s
        self.now_s, self.pause = clock, sleep
        self._board = board
        self._num_talks = 0
        self._told: list[str] = []  # by this process, in talks before
        self._mine: list[str] = []

    @property
    def patience_s(self) -> float:
        """How long this process waits for others in one step."""
        return self.timeout_s * (1 if self.rank == 0 else 2)

    def talk(self) -> str:
        """Begin the next talk, which all begin in the same order; the beginning of its keys."""
        self._told, self._mine = [*self._told, *self._mine], []
        self._num_talks += 1
        return f"{self._num_talks}"

    def tell(self, key: str, data: bytes) -> None:
        """Leave a message.

        Raises:
            CrewError: the others cannot be reached.
        """
        self._mine.append(key)
        self._board.tell(key, data)

    def heard(self, key: str) -> bytes:
        """What rank 0 says under this key.

        Raises:
            CrewError: it says nothing in time, or cannot be reached.
        """
        found = self.wait([key], self.patience_s)
        if not found:
            raise CrewError.silent([0], self.patience_s)
        return found[key]

    def forget_earlier(self) -> None:
        """Remove what this process told in earlier talks; all others must have begun this one."""
        self._board.forget(self._told)
        self._told = []

    def wait(
        self,
        keys: Sequence[str],
        timeout_s: float,
        is_enough: Callable[[Mapping[str, bytes]], bool] | None = None,
    ) -> dict[str, bytes]:
        """The messages of these keys, as soon as all, or enough of them, are there; what there is once the time is over.

        Raises:
            CrewError: the others cannot be reached.
        """
        found: dict[str, bytes] = {}
        begun, pause_s = self.now_s(), _FIRST_PAUSE_S
        while True:
            found |= self._board.look([key for key in keys if key not in found])
            if len(found) == len(keys) or (is_enough is not None and is_enough(found)):
                return found
            if self.now_s() - begun >= timeout_s:
                return found
            self.pause(pause_s)
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
