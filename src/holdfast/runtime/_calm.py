"""Steps that are passed without a look: what a step costs on which nothing is saved."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final, final

from ..policy import Checkpointing

_LASTS_S: Final = 0.01
"""How much later than it could a save may begin that time alone asks for, or that the file `SAVE_NOW` does."""


@final
class Calm:
    """After an end of a batch at which nothing was due, nothing can be due at the next ones, as far as the policy's counts say.

    It lasts for 10 ms, since time may ask for a save, too; a request or a signal ends it at once. So steps that take less than
    that are looked at now and then only, all of them are counted, and saves by count come where they would have come.

    Args:
        is_called: whether somebody asks for a save or the end now.
        clock: seconds, from anywhere.
    """

    def __init__(
        self,
        policy: Checkpointing,
        is_called: Callable[[], bool],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._policy, self._is_called, self._clock = policy, is_called, clock
        self._num_left, self._until_s = 0, 0.0

    def begin(self) -> None:
        """Everything was looked at, and nothing is due or under way."""
        left = self._policy.num_passed("batch_end")
        self._num_left, self._until_s = left, self._clock() + _LASTS_S

    def end(self) -> None:
        self._num_left = 0

    def passes(self) -> bool:
        """Whether this end of a batch can be passed; if so, it has been counted."""
        if not self._num_left or self._clock() > self._until_s or self._is_called():
            self._num_left = 0
            return False
        self._num_left -= 1
        self._policy.count("batch_end")
        return True
