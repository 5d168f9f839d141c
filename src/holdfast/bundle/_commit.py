"""The only place where a checkpoint is created.

*New name*: build everything in `.NAME.<id>.part/` beside its place; sync packs, tree, record and the
directory; rename the directory to `NAME.ckpt.mml` (onto a non-empty one that fails: someone else won);
sync the parent, and the parent of every directory that was created. So `*.ckpt.mml` never shows an
unfinished save.

*Overwriting*: write new files beside the old ones under the new id (packs kept from the old checkpoint
are linked again under the new id), sync them and the directory; rename the new record over the old; sync
the directory; **only then** unlink the names of the replaced record that the current record does not
name. Then sync the directory above, whose entry for the bundle may not be durable yet. At every instant the
name is the old checkpoint or the new one. (A pinned one is never replaced: it is renamed to
`NAME.pinned-<id>.ckpt.mml` first, and the save is one of a new name.) An error between the rename and
that sync is a `CommitUncertainError`: nothing is removed. (A damaged one is never replaced either: it is renamed to
`NAME.ckpt.mml.damaged-<id>` first, whichever of its files is damaged.)

Every step inside a bundle goes through an open directory, so a bundle that is deleted meanwhile takes
our files with it instead of leaving them in whatever has its name by then. A commit that finds itself
in a deleted bundle is made again under the name.
"""

from __future__ import annotations

import contextlib
import errno
import logging
from collections.abc import Iterator
from typing import Protocol

from ..errors import (
    CheckpointDamagedError,
    CheckpointExistsError,
    CheckpointUnreadableError,
    CommitUncertainError,
    HoldfastError,
    SaveError,
)
from ..records import CheckpointRecord
from ..storage import Directory, Storage
from ._damage import is_any_damaged
from ._folders import make_directories, parent
from ._format.names import (
    OWNER,
    RECORD,
    SUFFIX,
    bundle_path,
    new_id,
    new_record,
    overwrite_owner,
    part_path,
    pinned_name,
)
from ._format.record import encode_record
from ._leftovers import sweep_bundle
from ._open import named_files, read_record
from ._pin import is_pinned_inside
from ._write import write_file

logger = logging.getLogger("holdfast")

_TAKEN = {errno.ENOTEMPTY, errno.EEXIST}
_ATTEMPTS = 10  # one is lost only to another process's committed save or deletion of the same name


class Fill(Protocol):
    """Writes a checkpoint's packs and tree into a directory, and returns the record that names them."""

    def __call__(self, directory: Directory, id: str, *, rename_links: bool) -> CheckpointRecord: ...


def commit(
    disk: Storage,
    directory: str,
    name: str,
    fill: Fill,
    *,
    overwrite: bool = True,
    durable: bool = True,
    is_known: bool = False,
) -> CheckpointRecord:
    """Save a checkpoint as `directory/name.ckpt.mml`; when this returns it is there, and durable.

    `is_known`: this process wrote or verified what has the name now; otherwise it is read before it is replaced.

    Raises:
        CheckpointExistsError: the name is taken and `overwrite` is False.
        SaveError: the disk refused; the name holds what it held before.
        CommitUncertainError: it is in place but may not survive a power cut.
    """
    place = bundle_path(directory, name)
    try:
        created = make_directories(disk, directory)
        for attempt in range(_ATTEMPTS):
            if not _has_name(disk, directory, name, by_listing=attempt > 0):
                record = _commit_new(disk, directory, name, fill, created, durable)
            elif overwrite:
                record = _commit_over(disk, directory, name, fill, durable, is_known)
            else:
                raise CheckpointExistsError(place)
            if record is not None:
                return record
    except CheckpointUnreadableError as err:  # what has the name now: whether it may be replaced is not known
        raise SaveError(place, err.why) from err
    except HoldfastError:
        raise
    except OSError as err:
        raise SaveError(place, reason_of(err)) from err
    raise SaveError(place, "other processes kept replacing it")


def _has_name(disk: Storage, directory: str, name: str, *, by_listing: bool) -> bool:
    """Whether a directory has the bundle's name.

    Listing takes the longer the more there are, so it is looked up first; of that a "no" may be out of date (some file
    systems remember it for half a minute), and then the new name turns out to be taken.
    """
    if by_listing:
        return f"{name}{SUFFIX}" in disk.folders(directory)
    try:
        with disk.open_directory(directory) as above, disk.open_directory(bundle_path(directory, name)) as it:
            return above.status(f"{name}{SUFFIX}").identity == it.identity  # a link is none
    except (FileNotFoundError, NotADirectoryError):
        return False


def _commit_new(
    disk: Storage, directory: str, name: str, fill: Fill, created: list[str], durable: bool
) -> CheckpointRecord | None:
    """None if another process took the name."""
    id = new_id()
    place, part = bundle_path(directory, name), part_path(directory, name, id)
    disk.mkdir(part)
    try:
        with disk.open_directory(part) as inside:
            held = inside.hold(OWNER)
            try:
                record = fill(inside, id, rename_links=False)
                write_file(inside, RECORD, encode_record(record), durable=durable)
                inside.unlink(OWNER)
            finally:
                held.release()
            if durable:
                inside.sync()
        try:
            disk.rename(part, place)
        except OSError as err:
            if err.errno in _TAKEN:
                _discard_part(disk, part)
                return None
            if err.errno == errno.ENOTDIR:
                what = "a file or a link that is no checkpoint has its name; move that away [ENOTDIR]"
                raise SaveError(place, what) from err
            if f".{name}.{id}.part" not in disk.folders(directory):  # NFS may repeat what it had done
                raise CommitUncertainError(place, reason_of(err)) from err
            raise
    except BaseException:
        _discard_part(disk, part)
        raise
    if durable:
        with _uncertain(place):
            _sync_names(disk, directory, created)
    return record


def _sync_names(disk: Storage, directory: str, created: list[str]) -> None:
    """Make the bundle's name durable, and those of the directories above it that may be new."""
    for path in dict.fromkeys([directory, *created]):
        with disk.open_directory(path) as above:
            above.sync()
    if not created:  # whoever created `directory` may have died before syncing its name
        with contextlib.suppress(PermissionError), disk.open_directory(parent(directory)) as above:
            above.sync()


def _commit_over(
    disk: Storage, directory: str, name: str, fill: Fill, durable: bool, is_known: bool
) -> CheckpointRecord | None:
    """None if the bundle went away meanwhile, or was damaged or pinned, and was renamed."""
    id, place = new_id(), bundle_path(directory, name)
    try:
        inside = disk.open_directory(place)
    except FileNotFoundError:
        return None
    with inside:
        if is_damaged(disk, inside, place, is_known):
            rename_damaged(disk, place, id, inside)
            return None
        if is_pinned_inside(inside):
            make_way(disk, directory, name, inside)
            return None
        sweep_bundle(inside)
        try:
            held = inside.hold(overwrite_owner(id))
            try:
                record = _replace(inside, place, id, fill, durable)
            finally:
                held.release()
        except FileNotFoundError:
            # Deleted meanwhile: the files that we were writing went with it.
            if not _is_still(disk, place, inside):
                return None
            raise
        with _uncertain(place):
            if not _is_still(disk, place, inside):
                return None
            if durable:
                _sync_names(disk, directory, [])  # its maker may have died before that, or without durability
            return record


def make_way(disk: Storage, directory: str, name: str, inside: Directory) -> None:
    """Rename a pinned bundle, unchanged and still pinned, to free its name for the save."""
    place = bundle_path(directory, name)
    aside = bundle_path(directory, pinned_name(name, read_record(inside, place).id))
    if moved(disk, place, aside, inside):
        logger.warning("%s is pinned, so it was kept: it was renamed to %s", place, aside)


def _replace(inside: Directory, place: str, id: str, fill: Fill, durable: bool) -> CheckpointRecord | None:
    """None if it has been pinned meanwhile."""
    try:
        record = fill(inside, id, rename_links=True)
        write_file(inside, new_record(id), encode_record(record), durable=durable)
        if durable:
            inside.sync()
        replaced = read_record(inside, place)
    except BaseException:
        _discard(inside, id)
        raise
    if is_pinned_inside(inside):  # since we looked
        _discard(inside, id)
        return None
    try:
        inside.rename(new_record(id), RECORD)
    except OSError as err:
        if _may_be_in_place(inside, place, id):
            raise CommitUncertainError(place, reason_of(err)) from err
        _discard(inside, id)
        raise
    if durable:
        with _uncertain(place):
            inside.sync()
    _unlink_replaced(inside, place, id, replaced)
    return record


def _unlink_replaced(inside: Directory, place: str, id: str, replaced: CheckpointRecord) -> None:
    # The current record may be another writer's by now; what it names is never touched.
    with contextlib.suppress(OSError, HoldfastError):
        current = read_record(inside, place)
        keep = set(named_files(inside, place, current))
        old = [*named_files(inside, place, replaced), overwrite_owner(id)]
        for name in old:
            if name not in keep:
                with contextlib.suppress(FileNotFoundError):
                    inside.unlink(name)


def rename_damaged(disk: Storage, place: str, id: str, inside: Directory) -> None:
    """Rename a damaged bundle to `NAME.ckpt.mml.damaged-<id>`: never deleted, never in the way."""
    aside = f"{place}.damaged-{id}"
    if moved(disk, place, aside, inside):
        logger.warning("%s is damaged; it was renamed to %s, and nothing in it was deleted", place, aside)


def moved(disk: Storage, place: str, aside: str, inside: Directory) -> bool:
    """Rename the bundle that is open as `inside`; False, and nothing is changed, if it is at `place` no more."""
    if not _is_still(disk, place, inside):
        return False  # it is being deleted
    disk.rename(place, aside)
    if _is_still(disk, aside, inside):
        return True
    disk.rename(aside, place)  # another process had just put another in its place
    return False


def _may_be_in_place(inside: Directory, place: str, id: str) -> bool:
    """Whether the record of `id` is, or for all we can see may be, that of the bundle."""
    try:
        return read_record(inside, place).id == id
    except FileNotFoundError:
        return False
    except (OSError, HoldfastError):
        return True


def is_damaged(disk: Storage, inside: Directory, place: str, is_known: bool) -> bool:
    try:
        record = read_record(inside, place)
    except (CheckpointDamagedError, FileNotFoundError):
        return True
    return is_any_damaged(disk, place, record, is_known=is_known)


def _is_still(disk: Storage, place: str, inside: Directory) -> bool:
    """Whether `place` is (still) the directory that we have open."""
    try:
        with disk.open_directory(place) as now:
            return now.identity == inside.identity
    except (FileNotFoundError, NotADirectoryError):
        return False


def _discard_part(disk: Storage, part: str) -> None:
    """Remove our own unfinished save; what cannot be removed now is a leftover for later."""
    with contextlib.suppress(OSError), disk.open_directory(part) as inside:
        for name in inside.names():
            inside.unlink(name)
        disk.rmdir(part)


def _discard(inside: Directory, id: str) -> None:
    with contextlib.suppress(OSError):
        for name in inside.names():
            if id in name:
                inside.unlink(name)


@contextlib.contextmanager
def _uncertain(place: str) -> Iterator[None]:
    try:
        yield
    except OSError as err:
        raise CommitUncertainError(place, reason_of(err)) from err


def reason_of(err: OSError) -> str:
    return f"{err.strerror or err} [{errno.errorcode.get(err.errno or 0, 'errno ?')}]"
