"""What every source of batches can do, and the position that each of them keeps."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, Protocol

from ..errors import UsageError
from ._batch import Batch


class BatchSource(Protocol):
    """Batches of epoch after epoch, which can be resumed in a new process where it stopped in this one.

    The law: take k batches, `get_state`, build the same source in another process, `resume`: what
    comes are exactly the batches that would have come next, and so in the following epochs, provided
    that the caller restores the global random states (`holdfast.rng`), saved together with the state,
    *after* `resume`. For `resume` builds its iterator at once and may leave those states changed;
    afterwards it uses them just as the uninterrupted run would.
    """

    @property
    def num_batches(self) -> int | None:
        """Batches of an epoch; None if the source cannot tell."""
        ...

    @property
    def exactness(self) -> str:
        """`"exact"`, or a sentence on what may differ after a resume, as far as known by now."""
        ...

    @property
    def differences(self) -> Sequence[str]:
        """Why the batches after the last `resume` may not be those that would have come."""
        ...

    @property
    def generators(self) -> Mapping[str, Any]:
        """Its own random generators by name, live; those that `get_state` keeps."""
        ...

    def begin(self, epoch: int) -> Iterator[Batch]:
        """Start `epoch` from its first batch; an iterator handed out before is no longer counted."""
        ...

    def get_state(self) -> dict[str, Any]:
        """Plain data and arrays: how many batches of which epoch were handed out, and what a resume needs.

        Valid between batches and at epoch bounds.
        """
        ...

    def resume(self, state: Mapping[str, Any]) -> Iterator[Batch]:
        """The rest of the epoch that `state` was taken in; empty at an epoch's end.

        Raises:
            UsageError: the state is of another kind of source, or does not fit this one.
        """
        ...

    def describe(self) -> dict[str, Any]:
        """Plain facts that decide which batches come; two sources that differ here continue differently."""
        ...

    def fingerprint(self) -> str | None:
        """Digest of the indices of the epoch's next batch; None if unknown without reading samples, or at an epoch's end."""
        ...


@dataclass
class Position:
    """How far an epoch has been handed out; `epoch` is None before the first."""

    epoch: int | None = None
    batch: int = 0
    finished: bool = True

    @property
    def mid_epoch(self) -> bool:
        return not self.finished

    def count(
        self, batches: Iterable[Any], make: Callable[[Any], Any], num_batches: int | None = None
    ) -> Iterator[Any]:
        """`make(batch)` of each, counted before it is handed out: so the count is right between two batches."""
        for given in batches:
            batch = make(given)
            self.batch += 1
            self.finished = self.batch == num_batches
            yield batch
        self.finished = True

    def to_state(self, kind: str) -> dict[str, Any]:
        return {"kind": kind, "epoch": self.epoch, "batch": self.batch, "finished": self.finished}

    @classmethod
    def from_state(cls, state: Mapping[str, Any], kind: str) -> Position:
        if state.get("kind") != kind:
            raise UsageError(
                f"the position was saved for {state.get('kind')!r}, and the data now are {kind!r}. "
                "Give the same data in the same form as when it was saved."
            )
        return cls(state["epoch"], state["batch"], state["finished"])


def kept_by_others(source: BatchSource, is_kept: Callable[[Any], bool]) -> AbstractContextManager[None]:
    """At its end the generators of the data, and the attributes of what they hold, are what they were, if `is_kept` says so of them: what a
    `resume` inside sets of these, somebody else has restored already, and the script may have changed since."""
    kept = getattr(source, "kept", None)
    return nullcontext() if kept is None else kept(is_kept)


def without_position(source: BatchSource) -> str | None:
    """The name of the type of data that cannot resume in the middle of an epoch; None where they can."""
    return getattr(source, "without_position", None)


def foreign_state(source: BatchSource) -> str | None:
    """That the position is in a state of somebody else's making, if nothing worse is known of the data; a sentence.

    `exactness` says the same. It no longer counts once the next batch was compared with the one that would have come.
    """
    return getattr(source, "foreign_state", None)


ANOTHER_BATCH = "the data give another next batch than they would have"
"""What every loop says of `fingerprint`, if it is not what it was."""

_SAME_BATCHES = frozenset({"num_workers"})  # facts that may differ, and the batches are the same


def differences_of(saved: Mapping[str, Any], now: Mapping[str, Any], of: str = "the data's") -> list[str]:
    """A sentence for each fact of `BatchSource.describe` that has changed; facts that only one side has are skipped."""
    found = []
    for name, was in saved.items():
        if name not in now or was == now[name] or name in _SAME_BATCHES:
            continue
        what, value = f"{of} {name.replace('_', ' ')}", now[name]
        if name == "attributes":
            if others := unlike(was, value):
                found.append(f"{of} values have changed: {', '.join(others)}")
        elif isinstance(was, Mapping) and isinstance(value, Mapping):  # of one of several loaders
            found += differences_of(was, value, f"{name}'s")
        elif name == "digest":
            if None not in (was, value):
                found.append(f"{of} values have changed")
        else:
            found.append(f"{what} was {was!r} and is {value!r}")
    return found


def unlike(saved: Mapping[str, str | None], now: Mapping[str, str | None]) -> list[str]:
    """The attributes of data that hold other values; those that only one side knows are skipped, and those that had changed."""
    return [name for name, was in saved.items() if None not in (was, now.get(name)) and was != now[name]]
