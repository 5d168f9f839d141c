"""One call from a snapshot to a committed checkpoint that the next one can share with."""

from __future__ import annotations

from collections.abc import Callable

from ..errors import HoldfastError, UsageError
from ..records import CheckpointRecord, Snapshot
from ..storage import Directory, Storage
from ._commit import commit
from ._finite import Watched, watch_none
from ._format.names import bundle_path
from ._sharing import Sharing
from ._write import FileWriter, Written


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
    `is_watched`: which floating arrays should be finite; those that are not are named in the record's details as `health`.
    Arrays whose bytes are only linked are checked like all others.

    Raises: as `commit`; UsageError if the state's structure is too deep or too large.
    """
    written: Written | None = None  # by the last attempt

    def fill(directory: Directory, id: str, *, rename_links: bool) -> CheckpointRecord:
        nonlocal written
        files = FileWriter(
            *(disk, directory, id, draft, sharing),
            rename_links=rename_links,
            now_s=now_s,
            is_watched=is_watched,
        )
        try:
            written = files.write(snapshot)
        except HoldfastError:
            raise
        except ValueError as err:
            raise UsageError(f"checkpoint {draft.name!r} cannot be saved: {err}") from err
        return written.record if finish is None else finish(written.record)

    durable = draft.durability == "full"
    place = bundle_path(directory, draft.name)
    is_known = sharing.holds(place)
    record = commit(
        disk, directory, draft.name, fill, overwrite=overwrite, durable=durable, is_known=is_known
    )
    assert written is not None
    sharing.forget(place)
    sharing.learn(place, record, written.stored, now_s=now_s, proven_s=written.proven_s)
    return record
