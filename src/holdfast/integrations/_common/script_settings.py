"""What a script sets before its framework trains, compared at a resume with what it had set when the run began."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from typing import Any, final

logger = logging.getLogger("holdfast")


@final
class ScriptSettings:
    """Settings by name, as plain data.

    Args:
        now: what the script says.
        restored: those of which the checkpoint's value is used; the script's is used of all others.

    Attributes:
        followed: what the run follows, to be saved: of what is restored, what the script said when the run began.
    """

    def __init__(self, now: Mapping[str, Any], restored: Collection[str] = ()) -> None:
        self.followed = dict(now)
        self._now, self._restored = dict(now), restored

    def compare(self, then: Mapping[str, Any] | None) -> list[str]:
        """A sentence for each that the script has changed and that is in force; of the others a warning is given.

        `then`: as it was saved; None by a version that did not.
        """
        changed = [
            (name, then[name], value)
            for name, value in self._now.items()
            if then is not None and name in then and then[name] != value
        ]
        kept = [each for each in changed if each[0] in self._restored]
        self.followed |= {name: was for name, was, _ in kept}
        if kept:
            said = "; ".join(f"{name} is {was} (the script says {value})" for name, was, value in kept)
            logger.warning("the checkpoint's hyperparameters are used: %s", said)
        return [
            f"{name} was {was} and is now {value}"
            for name, was, value in changed
            if (name, was, value) not in kept
        ]
