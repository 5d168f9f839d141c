"""One call from a snapshot to a committed checkpoint that the next one can share with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from ..errors import UsageError
from ..records import CheckpointRecord, Snapshot
from ..storage import Directory, Storage
from ._commit import commit
from ._finite import Watched, nonfinite_details, watch_none
from ._format.names import bundle_path
from ._sharing import Sharing
from ._write import FileWriter, Written


@dataclass(slots=True)
class _Filling:
    """The `Fill` of one save: writes the files, keeps what the last attempt wrote."""

    disk: Storage
    snapshot: Snapshot
    sharing: Sharing
    draft: CheckpointRecord
    now_s: float
    finish: Callable[[CheckpointRecord], CheckpointRecord] | None
    is_watched: Watched
    written: Written | None = None

    def __call__(self, directory: Directory, id: str, *, rename_links: bool) -> CheckpointRecord:
        files = FileWriter(
            self.disk,
            directory,
            id,
            self.sharing,
            self.draft.seq,
            durable=self.draft.durability == "full",
            rename_links=rename_links,
            now_s=self.now_s,
            is_watched=self.is_watched,
        )
        try:
            written = self.written = files.write(self.snapshot)
        except ValueError as err:
            raise UsageError(f"checkpoint {self.draft.name!r} cannot be saved: {err}") from err
        record = replace(
            self.draft,
            id=id,
            tree=written.tree,
            packs=written.packs,
            bytes_captured=written.bytes_captured,
            bytes_written=written.bytes_written,
            bytes_shared=written.bytes_shared,
            details={**self.draft.details, **nonfinite_details(written.nonfinite)},
        )
        return record if self.finish is None else self.finish(record)


def save(
    disk: Storage,
    directory: str,
    draft: CheckpointRecord,
    snapshot: Snapshot,
    sharing: Sharing,
    *,
    overwrite: bool = True,
    now_s: float = 0.0,
    finish: Callable[[CheckpointRecord], CheckpointRecord] | None = None,
    is_watched: Watched = watch_none,
) -> CheckpointRecord:
    """Commit `snapshot` as `directory/draft.name.ckpt.mml`; `draft` says all but id, files and bytes.

    `now_s`: seconds, by the clock that `sharing` uses; if it stands still nothing grows old,
    and no pack is read again before it is linked. `finish`: adds what is known only when the record is written.
    `is_watched`: which floating arrays should be finite; the others are named in the record's details as `health`. Arrays
    whose bytes are only linked are checked like all others.

    Raises: as `commit`; UsageError if the state's structure is too deep or too large.
    """
    fill = _Filling(disk, snapshot, sharing, draft, now_s, finish, is_watched)
    record = commit(
        disk, directory, draft.name, fill, overwrite=overwrite, durable=draft.durability == "full"
    )
    assert fill.written is not None
    place = bundle_path(directory, draft.name)
    sharing.forget(place)
    sharing.learn(place, record, fill.written.stored, now_s=now_s, proven_s=fill.written.proven_s)
    return record
