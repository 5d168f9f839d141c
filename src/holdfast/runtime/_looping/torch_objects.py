"""What torch tells of the objects of a run: nothing where torch is not loaded."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, final


@final
class TorchObjects:
    """Updates that are made, gradients that wait, what modules keep for themselves, and what else is at work.

    Args:
        objects: those of the run, live.
    """

    def __init__(self, objects: Mapping[str, Any]) -> None:
        self._objects = objects
        self._updates: Any = None
        self._attributes: Any = None
        self._at_work: Any = None  # while the run is
        self._has_looked = False
        if "torch" in sys.modules:
            from ..torch_updates import Updates
            from ..torch_watch.attributes import Attributes

            self._updates, self._attributes = Updates(objects), Attributes(objects)

    def begin(self, variables: Callable[[], Mapping[str, Any]]) -> None:
        """The run begins: find what is at work and neither among its objects nor among these `variables`."""
        if self._updates is not None:
            from ..torch_watch.at_work import AtWork

            self._at_work = AtWork(lambda: self._objects, variables)

    def close(self) -> None:
        """The run has ended."""
        for each in (self._updates, self._at_work):
            if each is not None:
                each.close()

    def follow(self) -> None:
        """The objects are others now."""
        if self._updates is not None:
            self._updates.follow(self._objects)

    @property
    def num_updates(self) -> int | None:
        """Updates of the first optimizer among the objects; None without one."""
        if self._updates is None or not self._updates.is_counting:
            return None
        return self._updates.count

    def look(self, *, closely: bool) -> Sequence[str]:
        """What is at work and is not saved, a sentence each; `closely`, and the first time, by a walk through all objects."""
        if self._at_work is None:
            return ()
        closely, self._has_looked = closely or not self._has_looked, True
        return self._at_work.look(closely=closely)

    @property
    def lacking(self) -> Sequence[str]:
        """All that `look` has found."""
        return () if self._at_work is None else self._at_work.found

    def get_state(self) -> dict[str, Any]:
        attributes = {} if self._attributes is None else self._attributes.get_state()
        return {
            "gradients": {} if self._updates is None else self._updates.pending,
            **({"attributes": attributes} if attributes else {}),
        }

    def set_state(self, saved: Mapping[str, Any]) -> list[str]:
        """Put back what a checkpoint holds of it; returns what differs, a sentence each."""
        self.follow()
        if self._updates is None:
            return []
        self._updates.resume(saved["updates"], saved["gradients"])
        return self._attributes.set_state(saved.get("attributes", {}))
