"""How the state of a run is taken for a save: by copy, lazily, or where it is."""

from __future__ import annotations

import logging
from typing import Any

from .. import state
from ..checkpointing import Checkpointing
from ..state import Buffers, LazySnapshot, LiveSnapshot, MemorySnapshot

logger = logging.getLogger("holdfast")

_CHECKED = 2  # lazy snapshots of a run that are compared with live memory whatever the rule says


class Taking:
    """Takes snapshots for the saves of one run, in memory that is kept between them."""

    def __init__(self) -> None:
        self.buffers = Buffers()
        self._lazy = True
        self._unchecked = _CHECKED

    def take(self, value: Any, rule: Checkpointing) -> MemorySnapshot | LazySnapshot | LiveSnapshot:
        """The state of `value` as the rule wants it; live if training waits for the save anyway.

        It is live, too, if there is no memory for a copy: then training has to wait.

        Raises:
            UnsupportedStateError: something cannot be saved.
        """
        if not rule.options.background:
            return state.look(value, exclude=rule.options.exclude)
        try:
            if rule.options.snapshot == "lazy" and self._lazy:
                check = rule.options.snapshot_check or self._unchecked > 0
                taken = state.capture_lazily(
                    value, buffers=self.buffers, exclude=rule.options.exclude, check=check
                )
                self._unchecked -= 1
                return taken
            return state.capture(value, buffers=self.buffers, exclude=rule.options.exclude)
        except MemoryError:
            logger.warning(
                "there is no memory for a copy of the state: it is written piece by piece, and training waits"
            )
            return state.look(value, exclude=rule.options.exclude)

    def stop_being_lazy(self, why: str) -> None:
        """Take every further snapshot of this run by copy."""
        if self._lazy:
            self._lazy = False
            logger.warning("snapshot='lazy' is off for the rest of the run, snapshots are copies: %s.", why)
