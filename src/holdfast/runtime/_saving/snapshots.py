"""How the state of a run is taken for a save: by copy, lazily, or where it is."""

from __future__ import annotations

import logging
import os
from typing import Any

from ... import state
from ...policy import Checkpointing, Key
from ...state import Buffers, LazySnapshot, LiveSnapshot, MemorySnapshot, Plan

logger = logging.getLogger("holdfast")

_CHECKED = 2  # lazy snapshots of a run that are compared with live memory whatever the policy says


class Taking:
    """Takes snapshots for the saves of one run, in memory that is kept between them."""

    def __init__(self) -> None:
        self.buffers, self._plan = Buffers(), Plan()
        self._lazy = True
        self._unchecked = _CHECKED

    def take(self, value: Any, policy: Checkpointing) -> MemorySnapshot | LazySnapshot | LiveSnapshot:
        """The state of `value` as the policy wants it; live if training waits for the save anyway.

        It is live, too, if there is no memory for a copy: then training has to wait.

        Raises:
            UnsupportedStateError: something cannot be saved.
        """
        if not policy.write.background:
            return state.look(value, plan=self._plan, exclude=policy.exclude)
        try:
            if policy.snapshot is not None and self._lazy:
                check = policy.snapshot.check or self._unchecked > 0
                taken = state.capture_lazily(value, buffers=self.buffers, exclude=policy.exclude, check=check)
                self._unchecked -= 1
                return taken
            return state.capture(value, buffers=self.buffers, plan=self._plan, exclude=policy.exclude)
        except MemoryError:
            logger.warning(
                "there is no memory for a copy of the state: it is written piece by piece, and training waits"
            )
            return state.look(value, exclude=policy.exclude)

    def stop_being_lazy(self, why: str) -> None:
        """Take every further snapshot of this run by copy."""
        if self._lazy:
            self._lazy = False
            logger.warning("snapshot='lazy' is off for the rest of the run, snapshots are copies: %s.", why)


SHARE = 0.25
"""Of the machine's memory: what checkpoints in memory may take before a warning."""


class InMemory:
    """Enters snapshots into a policy's ledger, and warns once when a policy without `max_to_keep` holds too much."""

    def __init__(self, policy: Checkpointing, label: str) -> None:
        self._policy, self._label = policy, label
        self._is_told = False

    def keep(self, key: Key, taken: MemorySnapshot) -> None:
        self._policy.record_memory(key, taken)
        if self._policy.max_to_keep is not None or self._is_told:
            return
        held = [
            snapshot for each in self._policy.keys_by_age if (snapshot := self._policy.get_snapshot(each))
        ]
        size_bytes, memory_bytes = sum(each.size_bytes for each in held), machine_memory_bytes()
        if memory_bytes is not None and size_bytes > SHARE * memory_bytes:
            self._is_told = True
            logger.warning(
                "%r keeps %d checkpoints in memory, %.3g GB of the machine's %.3g GB, and gives none up: pass "
                "max_to_keep=, or a directory",
                *(self._label, len(held), size_bytes / 1e9, memory_bytes / 1e9),
            )


def machine_memory_bytes() -> int | None:
    """Physical memory; None where the system does not say."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return None
