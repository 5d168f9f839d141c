"""Which checkpoint a path or a name means: the one answer for every function and command that takes a checkpoint."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Protocol, TypeAlias, runtime_checkable

from .. import bundle, collector
from ..errors import CheckpointNotFoundError, UsageError
from ..storage import LocalDisk, Storage, local_path, real_path, refuse_url

_SHOWN = 5


@runtime_checkable
class Opened(Protocol):
    """An opened checkpoint."""

    @property
    def source(self) -> bundle.Bundle: ...


Place: TypeAlias = str | os.PathLike[str] | bundle.Listed | Opened
"""A checkpoint by its path (the suffix may be left out) or name, as listed by `scan`, or opened."""


def locate(
    place: Place,
    *,
    directory: str | None = None,
    among: Callable[[], Sequence[bundle.Listed]] | None = None,
    disk: Storage | None = None,
) -> bundle.Listed:
    """The checkpoint that `place` means. It may be damaged: then it has a `problem`, and no record.

    A path means the checkpoint there, with or without `.ckpt.mml`, and with or without a slash at the end.
    Given a `directory`, so does a name that `holdfast ls` prints there (`pretrain/pretrain_epoch2`), or the end of such a
    name (`pretrain_epoch2`). `among`: the checkpoints to search, where they are more than those below the directory.

    Raises:
        CheckpointNotFoundError: there is none; if it is a directory with checkpoints, the error says which.
        UsageError: `place` means several checkpoints, or is not a path at all.
    """
    disk = disk or LocalDisk()
    found = find(place, directory=directory, among=among, disk=disk)
    if found is None:
        raise _not_found(path_of(place), directory, among, disk)
    return found


def find(
    place: Place,
    *,
    directory: str | None = None,
    among: Callable[[], Sequence[bundle.Listed]] | None = None,
    disk: Storage | None = None,
) -> bundle.Listed | None:
    """As `locate`, but None if there is no such checkpoint."""
    if isinstance(place, bundle.Listed):
        return place
    if isinstance(place, Opened):
        return bundle.Listed(place.source.path, place.source.record)
    text = path_of(place)
    if disk is None or isinstance(disk, LocalDisk):
        refuse_url(text)
    disk = disk or LocalDisk()
    name = text.rstrip("/") or "/"
    found = _at(name, disk)
    if directory is not None and not os.path.isabs(name):
        found += _at(f"{directory.rstrip('/')}/{name}", disk)
        if not found:
            ending = f"/{name.removesuffix(bundle.SUFFIX)}{bundle.SUFFIX}"
            found = [each for each in _inside(directory, among, disk) if each.path.endswith(ending)]
    distinct = {real_path(each.path): each for each in reversed(found)}
    if len(distinct) > 1:
        raise UsageError(
            f"{text!r} means several checkpoints: {_names(found)}. Pass the path of one of them."
        )
    return found[0] if found else None


def path_of(place: object) -> str:
    """`place` as text.

    Raises:
        UsageError: it is neither a path nor a name.
    """
    text = os.fspath(place) if isinstance(place, str | os.PathLike) else None
    if not isinstance(text, str) or not text.strip() or "\0" in text:
        raise UsageError(f"pass a checkpoint's path or name, not {place!r}.")
    return text


def scan(directory: str | os.PathLike[str], *, disk: Storage | None = None) -> list[bundle.Listed]:
    """Every checkpoint below a directory, run by run, newest last; damaged ones (with a `problem`) before all others.

    The run that saved last is the last one; within a run the order is that of its saves.

    Raises:
        CheckpointNotFoundError: there is no such directory.
        CheckpointUnreadableError: it cannot be listed. A folder below it that cannot is given with this `problem`.
        TooManyOpenFilesError: this process can open no more files.
        UsageError: it is no path.
    """
    path = local_path("directory", directory).rstrip("/") or "/"
    disk = disk or LocalDisk()
    try:
        disk.folders(path)
    except FileNotFoundError:
        raise CheckpointNotFoundError(path, "there is no such directory") from None
    except NotADirectoryError as err:
        raise CheckpointNotFoundError(path, f"it cannot be listed ({err.strerror})") from None
    except OSError as err:
        raise bundle.unreadable(path, "it cannot be listed", err) from err
    return scan_if_there(path, disk=disk)


def scan_if_there(directory: str | os.PathLike[str], *, disk: Storage | None = None) -> list[bundle.Listed]:
    """As `scan`, but empty where nothing has been saved yet and there is no such directory."""
    found = bundle.scan(disk or LocalDisk(), os.fspath(directory).rstrip("/") or "/")
    with collector.paused():
        return bundle.by_run(found)


def _at(path: str, disk: Storage) -> list[bundle.Listed]:
    """The checkpoints of this path, with its suffix and without; one that is named in full is meant."""
    found = [] if (here := _look(path, disk)) is None else [here]
    if not (found and path.endswith(bundle.SUFFIX)):
        longer = _look(path + bundle.SUFFIX, disk)
        found += [] if longer is None else [longer]
    return found


def _look(path: str, disk: Storage) -> bundle.Listed | None:
    listed = bundle.look(disk, path)
    if listed is None or listed.record:
        return listed
    # A copy under another name is a checkpoint by its record; a damaged one has only its name.
    name = os.path.basename(real_path(path))
    is_one = (
        name.endswith(bundle.SUFFIX) or path.endswith(bundle.SUFFIX) or f"{bundle.SUFFIX}.damaged-" in name
    )
    return listed if is_one else None


def _inside(
    directory: str, among: Callable[[], Sequence[bundle.Listed]] | None, disk: Storage
) -> Sequence[bundle.Listed]:
    return scan_if_there(directory, disk=disk) if among is None else among()


def _not_found(
    text: str, directory: str | None, among: Callable[[], Sequence[bundle.Listed]] | None, disk: Storage
) -> CheckpointNotFoundError:
    name = text.rstrip("/") or "/"
    inside = f"{directory.rstrip('/')}/{name}" if directory is not None and not os.path.isabs(name) else name
    for path in dict.fromkeys((inside, name)):
        try:
            disk.open_directory(path).close()
        except OSError:
            continue
        return CheckpointNotFoundError(
            text, f"this is a directory{_contents(scan_if_there(path, disk=disk))}"
        )
    if directory is None:
        return CheckpointNotFoundError(text, "there is no checkpoint of this path, with or without .ckpt.mml")
    listed = _inside(directory, among, disk)
    has = f"it has {len(listed)}, {_newest(listed)}" if listed else "it has none"
    return CheckpointNotFoundError(directory, f"there is no checkpoint {text!r} here; {has}")


def _contents(listed: Sequence[bundle.Listed]) -> str:
    """What to choose from, appended to the directory in a message."""
    if not listed:
        return " without checkpoints"
    number = f"{len(listed)} checkpoint{'' if len(listed) == 1 else 's'}"
    return f" with {number}; {_newest(listed)}"


def _newest(listed: Sequence[bundle.Listed]) -> str:
    return f"the newest is {listed[-1].path}" if listed[-1].record else f"all damaged: {_names(listed)}"


def _names(listed: Sequence[bundle.Listed]) -> str:
    more = f" and {len(listed) - _SHOWN} more" if len(listed) > _SHOWN else ""
    return ", ".join(each.path for each in listed[-_SHOWN:]) + more
