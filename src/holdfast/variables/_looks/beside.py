"""What decides beside the variables, and is only named where it has changed: the environment, loggers, hooks, what
layers of Keras train; the order of sets, and threads of the script that run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, final

from .environ import Environ
from .handlers import Loggers
from .hooks import Hooks
from .sets import losing
from .threads import running
from .trainable import Trainable


@final
class Beside:
    """All of that, as it was when the loop began."""

    def __init__(self) -> None:
        self._environ, self._loggers = Environ(), Loggers()
        self._hooks, self._trainable = Hooks(), Trainable()

    def begin(self, objects: Mapping[str, Any], hooked: Mapping[str, Any]) -> None:
        """The loop begins, with these objects of the run, and variables that may have hooks of torch; of a loop within it nothing
        is to be known."""
        self._environ.begin()
        self._loggers.begin()
        self._hooks.begin(objects, hooked)
        self._trainable.begin(objects)

    def changed(self, objects: Mapping[str, Any], hooked: Mapping[str, Any], run: str) -> dict[str, str]:
        """A sentence for each thing that is not as it was, by the name under which it can be ignored (`{run}ignore`)."""
        found = self._environ.changed(run) | self._loggers.changed(run)
        found |= self._hooks.changed(objects, hooked, run) | self._trainable.changed(objects, run)
        return found | losing(objects, run) | running(run)
