"""What a rule keeps in host memory, and a word before that is more than the machine can spare."""

from __future__ import annotations

import logging
import os

from ..checkpointing import Checkpointing, Key
from ..state import MemorySnapshot

logger = logging.getLogger("holdfast")

SHARE = 0.25
"""Of the machine's memory: what checkpoints in memory may take before a warning."""


class InMemory:
    """Enters snapshots into a rule's ledger, and warns once when a rule without `max_to_keep` holds too much."""

    def __init__(self, rule: Checkpointing, label: str) -> None:
        self._rule, self._label = rule, label
        self._is_told = False

    def keep(self, key: Key, taken: MemorySnapshot) -> None:
        self._rule.record_memory(key, taken)
        if self._rule.max_to_keep is not None or self._is_told:
            return
        held = [snapshot for each in self._rule.keys_by_age if (snapshot := self._rule.get_snapshot(each))]
        size_bytes, memory_bytes = sum(each.size_bytes for each in held), machine_memory_bytes()
        if memory_bytes is not None and size_bytes > SHARE * memory_bytes:
            self._is_told = True
            logger.warning(
                "%r keeps %d checkpoints in memory, %.3g GB of the machine's %.3g GB, and gives none up: pass "
                "max_to_keep=, or mode='disk'",
                *(self._label, len(held), size_bytes / 1e9, memory_bytes / 1e9),
            )


def machine_memory_bytes() -> int | None:
    """Physical memory; None where the system does not say."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return None
