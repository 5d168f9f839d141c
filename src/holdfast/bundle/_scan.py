"""Finding checkpoints: a walk that reads nothing but records."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from ..errors import CheckpointDamagedError, CheckpointUnreadableError, HoldfastError, TooManyOpenFilesError
from ..records import CheckpointRecord
from ..storage import Storage
from ._format.names import SUFFIX
from ._open import is_at, read_record, unreadable

_LOOKS = 5  # one fails only if a bundle of this name was deleted meanwhile
_OF_THE_SYSTEM = "lost+found"  # at the root of a file system, closed to all but its administrator


@dataclass(frozen=True, slots=True)
class Listed:
    """A bundle that is there: its record, or why it has no usable one. Also a folder that may hold some and cannot be listed."""

    path: str
    record: CheckpointRecord | None
    problem: HoldfastError | None = None


def scan(
    disk: Storage, directory: str, *, depth: int = 16, enters: Callable[[str], bool] = lambda folder: True
) -> Iterator[Listed]:
    """Every bundle below `directory`, in no order. Hidden folders and symbolic links are not followed.

    `enters` decides for every other folder whether to search it. One that cannot be listed is given with its `problem`.

    Raises:
        CheckpointUnreadableError: the directory itself cannot be listed, so there may be more than can be seen.
        TooManyOpenFilesError: this process can open no more files.
    """
    try:
        folders = disk.folders(directory)
    except (FileNotFoundError, NotADirectoryError):
        return
    except OSError as err:
        raise unreadable(directory, "it cannot be listed", err) from err
    for name in folders:
        path = f"{directory}/{name}"
        if name.endswith(SUFFIX):
            listed = look(disk, path)
            if listed:
                yield listed
        elif depth and not name.startswith(".") and f"{SUFFIX}.damaged-" not in name and enters(path):
            try:
                yield from scan(disk, path, depth=depth - 1, enters=enters)
            except TooManyOpenFilesError:
                raise
            except CheckpointUnreadableError as err:  # of this folder: those below it are given, not raised
                if name != _OF_THE_SYSTEM:
                    yield Listed(path, None, _without_trace(err))


def by_age(listed: Listed) -> tuple[tuple[int, str, str], str]:
    """Sorts oldest first, and what has no record before all others."""
    return listed.record.age_key if listed.record else (-1, "", ""), listed.path


def by_run(found: Iterable[Listed]) -> list[Listed]:
    """Run by run, the one that saved last at the end; within a run oldest first; before all what has no record."""
    oldest_first = sorted(found, key=by_age)
    newest: dict[str, CheckpointRecord] = {}
    for each in oldest_first:
        if each.record is not None:
            newest[each.record.run] = each.record
    ended = {run: (record.created, *record.age_key) for run, record in newest.items()}
    return sorted(oldest_first, key=lambda each: ended[each.record.run] if each.record else ())


def look(disk: Storage, path: str) -> Listed | None:
    """The bundle at `path` with its record; None if it is not there."""
    for _ in range(_LOOKS):
        try:
            with disk.open_directory(path) as inside:
                try:
                    return Listed(path, read_record(inside, path))
                except FileNotFoundError:
                    if is_at(disk, path, inside):
                        return Listed(path, None, CheckpointDamagedError(path, "it has no record"))
                    # It is being deleted; by now another may have been saved under its name.
        except (FileNotFoundError, NotADirectoryError):
            return None
        except TooManyOpenFilesError:
            raise
        except HoldfastError as err:
            return Listed(path, None, _without_trace(err))
        except OSError as err:
            problem = unreadable(path, "it cannot be opened", err)
            if isinstance(problem, TooManyOpenFilesError):
                raise problem from err
            return Listed(path, None, problem)
    return None


def refuse_unreadable(found: Iterable[Listed]) -> None:
    """Raise what the system refused to show, where the newest checkpoint is searched: it may be that one."""
    for listed in found:
        if isinstance(listed.problem, CheckpointUnreadableError):
            raise listed.problem


def _without_trace(err: HoldfastError) -> HoldfastError:
    """A list of problems must not keep alive what was read to find them."""
    err.__context__ = None
    return err.with_traceback(None)
