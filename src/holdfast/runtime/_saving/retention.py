"""What a policy gives up, once a checkpoint is committed. The facts are read from the disk, each time anew."""

from __future__ import annotations

import logging
from collections.abc import Hashable
from dataclasses import replace
from typing import final

from ... import bundle, state
from ...checkpoint import Pieces, StreamedSnapshot
from ...errors import (
    CheckpointNotFoundError,
    CheckpointReplacedError,
    CheckpointUnreadableError,
    DamagedError,
    SaveError,
)
from ...policy import (
    Checkpointing,
    Evicted,
    Key,
    Saved,
    budget_of,
    in_turn,
    is_nonfinite,
    judge,
    to_thin,
    unmeasured,
)
from ...records import CheckpointRecord
from .._directory import ExperimentDirectory

logger = logging.getLogger("holdfast")


@final
class Retention:
    """Keeps the checkpoints of one policy on the disk to what it says."""

    def __init__(self, directory: ExperimentDirectory, policy: Checkpointing) -> None:
        self._directory, self._policy = directory, policy
        self._going: list[Evicted] = []  # given up, and to be deleted once something newer is committed
        self._told: set[str] = set()  # of which metrics, and that there are no optimizers

    def add(self, key: Key, path: str) -> None:
        """The policy has one more checkpoint; those that are too old for it now go."""
        self._going += self._policy.record_disk(key, path)

    def judge(self) -> None:
        """Judge all checkpoints of the policy by more than their age, and let it forget those that go."""
        keep = self._policy.keep
        if not (self._policy.judges and self._directory.ranks.leads):
            return
        saved = self._facts(sizes=budget_of(keep) is not None)
        for name in sorted(unmeasured(saved, keep) - self._told) if saved else ():
            logger.warning("no checkpoint has the metric %r yet, so none is among the best", name)
            self._told.add(name)
        for verdict in in_turn(judge(saved, keep)):
            logger.info("gives up %s: %s", verdict.path, verdict.why)
            self._going += self._policy.forget(verdict.path)

    def delete(self) -> None:
        """Delete what was given up, unless another policy names it. Of several ranks one does it."""
        if not self._directory.ranks.leads:
            self._going = []
            return
        spare = self._spared()
        for evicted in self._going:
            if evicted.path is None or self._policy.is_named(evicted.path) or evicted == spare:
                continue
            self._directory.remove(str(evicted.path))
        self._going = [] if spare is None else [spare]

    def _spared(self) -> Evicted | None:
        """Of those that go by age alone, the newest finite one, if all that stay are non-finite."""
        if not self._going or self._policy.judges:
            return None
        if any(self._finite(str(path)) for path in reversed(self._policy.get_paths())):
            return None
        finite = [
            (record.age_key, each)
            for each in self._going
            if each.path is not None and (record := self._finite(str(each.path)))
        ]
        return max(finite, key=lambda pair: pair[0])[1] if finite else None

    def _finite(self, path: str) -> CheckpointRecord | None:
        """The record of the checkpoint there, if there is one that is finite."""
        listed = bundle.look(self._directory.disk, path)
        record = listed.record if listed else None
        return None if record is None or is_nonfinite(record) else record

    def _facts(self, *, sizes: bool) -> list[Saved]:
        """What is to be known of each of the policy's checkpoints before it may go; nothing of one gone or damaged."""
        disk, origin = self._directory.disk, self._directory.resumed_from
        found = []
        for path in map(str, self._policy.get_paths()):
            try:
                listed = bundle.look(disk, path)
            except CheckpointUnreadableError:  # what cannot be judged stays
                continue
            if listed is None or listed.record is None:
                continue
            protected = None
            files: dict[Hashable, int] = {}
            try:
                if bundle.is_pinned(disk, path):
                    protected = "it is pinned"
                elif origin is not None and listed.record.id == origin.id:
                    protected = "the run resumed from it"
                if sizes:
                    files = bundle.file_sizes(disk, path)
            except OSError as err:
                protected = f"it cannot be looked at: {err.strerror}"
            found.append(Saved(path, listed.record, protected, files))
        return found

    def thin(self) -> None:
        """Rewrite what is older than the policy's `thin_after` newest without optimizers. A failure is only warned of."""
        if self._policy.thin_after is None:
            return
        for each in to_thin(self._facts(sizes=False), self._policy.thin_after):
            try:
                with bundle.Bundle(self._directory.disk, each.path, expected_id=each.record.id) as opened:
                    if not self._thin(opened) and "thin_after" not in self._told:
                        logger.warning(
                            "thin_after gives up torch optimizers, and %s has none of its own",
                            opened.record.name,
                        )
                        self._told.add("thin_after")
            except (
                SaveError,
                DamagedError,
                CheckpointNotFoundError,
                CheckpointReplacedError,
                CheckpointUnreadableError,
            ) as err:
                logger.warning("%s was not thinned: %s", each.path, err)

    def _thin(self, opened: bundle.Bundle) -> bool:
        """Whether there was an optimizer to give up."""
        tree = state.without_optimizers(opened.tree)
        if tree is None:
            return False
        record = opened.record
        # Its age and its place in the run stay; only its id is another one, since its content is.
        details = {**record.details, "thinned": True, "thinned_from": record.id}
        snapshot = StreamedSnapshot(tree, Pieces(opened))
        self._directory.rewrite(opened, replace(record, details=details), snapshot)
        logger.info("thinned %s: its optimizers were given up", opened.path)
        return True
