"""What the scenarios ask of a contender. A new one is a class or two here, and a line in the registry."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from ..states import State
from ..training import Training


class Saver(Protocol):
    """One way of saving, at work; it may keep buffers, threads and processes between saves."""

    def begin(self, root: Path) -> None:
        """Checkpoints go below this new folder from now on. Not timed."""
        ...

    def save(self, state: State, name: str) -> None:
        """Return as soon as training may change the state again."""
        ...

    def finish(self) -> None:
        """Return when what was saved is complete."""
        ...

    def close(self) -> None: ...


@runtime_checkable
class BlocksLater(Protocol):
    """A saver that makes training wait after `save` has returned, too."""

    @property
    def blocked_s(self) -> float:
        """How long training has been blocked since `begin`, in all; known when all is finished."""
        ...


@dataclass(frozen=True, slots=True)
class Saving:
    """A contender for saving.

    Attributes:
        start: makes a `Saver`; raises `ImportError` if its library is not there.
        durable: it syncs by itself; else the benchmark syncs each of its files, within the time.
        scenarios: where it takes part.
        wants_objects: where there are a model and an optimizer, it gets these, not their state dicts.
    """

    name: str
    start: Callable[[], Saver]
    durable: bool
    scenarios: frozenset[str]
    wants_objects: bool = False


@dataclass(frozen=True, slots=True)
class Loading:
    """A contender for loading what the saver named `written_by` saved as `root/name`.

    Attributes:
        into: fill the tensors of a live state.
        new: make the state anew (None: it cannot).
        one: the array at a path, alone (None: it cannot).
        training: bring the model and the optimizer of a script back (None: it takes no part in S6).
    """

    name: str
    written_by: str
    into: Callable[[Path, str, State], None]
    new: Callable[[Path, str], Any] | None = None
    one: Callable[[Path, str, str], Any] | None = None
    training: Callable[[Path, str, Training], None] | None = None


ALL = frozenset({"S1", "S2", "S3", "S4", "S5", "S6", "S7", "S8"})
