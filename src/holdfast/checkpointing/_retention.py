"""Which checkpoints go when there are too many. Pure: it plans, somebody else removes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ._keys import Key


@dataclass(frozen=True, slots=True)
class Evicted:
    """A key that the ledger has forgotten, and on disk the bundle that it named.

    The bundle may be deleted only if no other key names it (`Checkpointing.is_named(path)`): with a
    rolling name, many keys share one path.
    """

    key: Key
    path: Path | None


def plan(keys_by_age: Sequence[Key], max_to_keep: int | None) -> tuple[Key, ...]:
    """The keys to forget, oldest first, so that at most `max_to_keep` remain; None keeps all."""
    if max_to_keep is None:
        return ()
    return tuple(keys_by_age[: max(0, len(keys_by_age) - max_to_keep)])
