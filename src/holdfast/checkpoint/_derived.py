"""Checkpoints that no run saved: of a state by itself, of other checkpoints, or of files of another format.

Each has a run id of its own and `seq` 0. So it is listed, opened and restored like any other; a run that
resumes in the same directory never takes it for its newest; and no run's retention ever removes it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Literal, Protocol

from .. import bundle, fingerprint
from ..crew import Crew
from ..errors import UsageError
from ..policy import check_name
from ..records import IMPORTED, Bytes, CheckpointRecord, FileEntry, Leaf, Moment, Node, Range, Snapshot
from ..storage import LocalDisk, Storage, local_path


class Part(Protocol):
    """Makes `size` bytes of a leaf from `start` on; called by several threads, and more than once."""

    def __call__(self, leaf: Leaf, start: int, size: int, /) -> memoryview: ...


class StreamedSnapshot:
    """A state whose bytes are made as they are written, so that it is never entirely in memory."""

    is_live = False
    in_place = False

    def __init__(self, tree: Node, part: Part) -> None:
        self._tree, self._part = tree, part

    @property
    def tree(self) -> Node:
        return self._tree

    def pieces(self, wanted: Sequence[Range]) -> list[memoryview]:
        return [self._part(each.leaf, each.start, each.size).cast("B") for each in wanted]

    def extent(self, wanted: Sequence[Range]) -> None:
        """There is no memory that has them all."""

    def seal(self) -> None:
        """The sources of the bytes do not change."""


class Pieces:
    """The pieces of an opened bundle, by leaf and start: the `Part` of a state that shares arrays with it."""

    def __init__(self, opened: bundle.Bundle) -> None:
        self._opened = opened
        self._known: dict[str, dict[int, bundle.StoredPiece]] = {}

    def __call__(self, leaf: Leaf, start: int, size: int, /) -> memoryview:
        return self.read(leaf, start).data

    def read(self, leaf: Leaf, start: int) -> Bytes:
        """The checked bytes of the piece that begins there.

        Raises:
            PieceDamagedError: they are not what was saved.
        """
        if leaf.path not in self._known:
            self._known[leaf.path] = {piece.start: piece for piece in self._opened.pieces(leaf)}
        piece = self._known[leaf.path][start]
        return self._opened.piece_bytes(leaf, piece)


def draft(
    name: str,
    kind: str,
    moment: Moment,
    *,
    reason: str,
    like: CheckpointRecord | None = None,
) -> CheckpointRecord:
    """The record of a checkpoint about to be saved, whose bytes are not known yet.

    Versions, environment and commit are those of `like`; without one, those of this process, but for the commit.
    """
    return CheckpointRecord(
        id="0" * 32,
        name=name,
        kind=kind,
        moment=moment,
        seq=0,
        created=datetime.now(UTC).isoformat(timespec="microseconds"),
        tree=FileEntry("", 0, ""),
        packs=(),
        reason=reason,
        versions=like.versions if like else fingerprint.versions(),
        environment=like.environment if like else fingerprint.environment(),
        commit=like.commit if like else None,
    )


def save_alone(
    place: str | os.PathLike[str],
    snapshot: Snapshot,
    *,
    reason: str,
    hook: str = IMPORTED,
    details: Mapping[str, Any] | None = None,
    metrics: Mapping[str, float] | None = None,
    durability: Literal["full", "process"] = "full",
    is_watched: Callable[[str], bool] = lambda path: False,
    like: CheckpointRecord | None = None,
    trusted: Iterable[bundle.Bundle] = (),
    overwrite: bool = False,
    disk: Storage | None = None,
) -> CheckpointRecord:
    """Commit `snapshot` at `place` (`.ckpt.mml` may be left out), durably; returns its record.

    `like`: the checkpoint that it was made from, whose kind, moment and settings it has; without one, `hook` says
    how it came about. `trusted`: opened bundles whose bytes the caller has verified, so that their packs may be
    linked. `is_watched`: which arrays should be finite.

    Raises:
        CheckpointExistsError: there is one already, and `overwrite` is False.
        UsageError: `place` cannot name a checkpoint.
        SaveError, CommitUncertainError: the disk refused.
    """
    folder, name = _folder_and_name(place)
    moment = replace(like.moment, run=bundle.new_id()) if like else Moment(run=bundle.new_id(), hook=hook)
    made = replace(
        draft(name, like.kind if like else "train", moment, reason=reason, like=like),
        parent=like.id if like else None,
        details=details or {},
        metrics=metrics or {},
        durability=durability,
    )
    sharing = bundle.Sharing()
    for each in trusted:
        sharing.learn(each.path, each.record, each.stored)
    return bundle.save(
        *(disk or LocalDisk(), folder, made, snapshot, sharing),
        overwrite=overwrite,
        is_watched=is_watched,
    )


def save_together(
    crew: Crew,
    place: str | os.PathLike[str],
    capture: Callable[[], Snapshot],
    *,
    reason: str,
    hook: str,
    metrics: Mapping[str, float] | None = None,
    durability: Literal["full", "process"] = "full",
    watching: Callable[[Node], Callable[[str], bool]],
    disk: Storage | None = None,
) -> CheckpointRecord:
    """As `save_alone`, of a state that all ranks of a crew have together; `capture` gives what this one has.

    Raises: as `bundle.save_together`; UsageError if `place` cannot name a checkpoint.
    """
    folder, name = _folder_and_name(place)
    made = replace(
        draft(name, "train", Moment(run=bundle.new_id(), hook=hook), reason=reason),
        metrics=metrics or {},
        durability=durability,
    )
    return bundle.save_together(crew, disk or LocalDisk(), folder, made, capture, watching=watching)


def _folder_and_name(place: str | os.PathLike[str]) -> tuple[str, str]:
    """Where a checkpoint is to be, and what it is called; UsageError if it cannot be called that."""
    text = local_path("a checkpoint's path", place)
    folder, name = os.path.split(text.rstrip("/").removesuffix(bundle.SUFFIX))
    try:
        check_name(name)
    except ValueError as err:
        raise UsageError(f"{text!r} cannot be a checkpoint: {err}") from None
    return folder or ".", name
