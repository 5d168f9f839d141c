"""What torch tells of the objects of a run: nothing where torch is not loaded."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, final

from .._saving.lacking import Lacking


@final
class TorchObjects:
    """Updates that are made, gradients that wait, what modules keep for themselves, and what else is at work.

    Args:
        objects: those of the run, live.
        adapts: whether the script brings them to the structure of the checkpoint from which it resumes.
    """

    def __init__(self, objects: Mapping[str, Any], *, adapts: bool = False) -> None:
        self._objects = objects
        self._updates: Any = None
        self._attributes: Any = None
        self._structure: Any = None
        self._lacking: Lacking | None = None
        if "torch" in sys.modules:
            from ..torch_updates import Updates
            from ..torch_watch.attributes import Attributes
            from ..torch_watch.structure import Structure

            self._updates, self._attributes = Updates(objects), Attributes(objects)
            self._structure = None if adapts else Structure(objects)

    def begin(
        self, variables: Callable[[], Mapping[str, Any]], report: Callable[[Sequence[str]], None]
    ) -> None:
        """The run begins: tell `report` what is at work and neither among its objects nor among these `variables`."""
        self._lacking = Lacking(lambda: self._objects, report, variables=variables)
        self._lacking.begin()

    def close(self) -> None:
        """The run has ended."""
        for each in (self._updates, self._lacking):
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

    def at(self, hook: str) -> None:
        """The run is at this hook: look for what is at work and is not saved."""
        if self._lacking is not None:
            self._lacking.at(hook)

    @property
    def lacking(self) -> Sequence[str]:
        """All of it that was found so far, a sentence each."""
        return () if self._lacking is None else self._lacking.found

    def get_state(self) -> dict[str, Any]:
        if self._structure is not None:
            self._structure.check()
        attributes = {} if self._attributes is None else self._attributes.get_state()
        return {
            "gradients": {} if self._updates is None else self._updates.pending,
            **({} if self._updates is None else {"stale_gradients": self._updates.seen}),
            **({"attributes": attributes} if attributes else {}),
        }

    def set_state(self, saved: Mapping[str, Any]) -> list[str]:
        """Put back what a checkpoint holds of it; returns what differs, a sentence each."""
        self.follow()
        if self._updates is None:
            return []
        if self._structure is not None:
            self._structure.follow()
        self._updates.resume(saved["updates"], saved["gradients"], saved.get("stale_gradients", {}))
        return self._attributes.set_state(saved.get("attributes", {}))
