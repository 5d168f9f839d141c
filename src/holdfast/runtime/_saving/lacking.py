"""What is at work along with a training and is in none of its checkpoints: found at its hooks, told once."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, final

logger = logging.getLogger("holdfast")

ADVICE: Final = "pass it to the run with the other objects"


@final
class Lacking:
    """Looks for it from `begin` to `close`, in this thread. Without torch nothing is known of what is at work.

    Args:
        objects: called for all that a checkpoint holds, live, by name.
        report: told of what is found, a sentence each.
        others: called for what a framework knows of optimizers of its own, a sentence each.
        variables: called for what else a checkpoint holds: variables of the script.
    """

    def __init__(
        self,
        objects: Callable[[], Mapping[str, Any]],
        report: Callable[[Sequence[str]], None],
        *,
        others: Callable[[], Sequence[str]] = lambda: (),
        variables: Callable[[], Mapping[str, Any]] = dict[str, Any],
    ) -> None:
        self._objects, self._report, self._others, self._variables = objects, report, others, variables
        self._at_work: Any = None
        self._has_looked = False
        self._found: dict[str, None] = {}

    def begin(self) -> None:
        """The training begins."""
        if self._at_work is None and "torch" in sys.modules:
            from ..torch_watch.at_work import AtWork

            self._at_work, self._has_looked = AtWork(self._objects, self._variables), False

    def at(self, hook: str) -> None:
        """The training is at this hook; what is looked at only at the first one and at the ends of epochs costs more."""
        found = self._others()
        if self._at_work is not None:
            seen = self._at_work.look(closely=hook == "epoch_end" or not self._has_looked)
            found, self._has_looked = [*found, *seen] if seen else found, True
        if found and (new := [each for each in found if each not in self._found]):
            self._found |= dict.fromkeys(new)
            self._report(new)

    @property
    def found(self) -> Sequence[str]:
        """All that was found so far."""
        return list(self._found)

    def close(self) -> None:
        """Look no more."""
        if self._at_work is not None:
            self._at_work.close()
            self._at_work = None


def warn_lacking(found: Sequence[str], advice: str = ADVICE) -> None:
    """Say what no checkpoint holds, and what to do."""
    for each in found:
        logger.warning("%s, so that no resume is exact: %s", each, advice)
