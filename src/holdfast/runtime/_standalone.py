"""`save` and `load`: a state in a checkpoint of its own, in one line and without a run."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, Literal, SupportsFloat, overload

from .. import bundle, state
from ..checkpoint import Checkpoint, MappedArrays, path_of, save_alone, save_together, watched
from ..checkpoint import open as open_checkpoint
from ..crew import Crew
from ..errors import CheckpointNotFoundError, StateMismatchError, UsageError
from ..harness import file_place
from ..records import STANDALONE, leaves
from ..state import Restored
from ..storage import LocalDisk, Storage, refuse_url
from ._directory import failing_as_a_save
from ._numbers import numbers

Path_ = str | os.PathLike[str]


def save(
    path: Path_,
    state: Mapping[str, Any],
    *,
    overwrite: bool = False,
    metrics: Mapping[str, SupportsFloat] | None = None,
    share_with: Path_ | Sequence[Path_] = (),
    durability: Literal["full", "process"] = "full",
    crew: Crew | None = None,
    disk: Storage | None = None,
) -> Path:
    """Save a state as a checkpoint of its own; returns its path.

    The checkpoint is there completely or not at all, whatever happens meanwhile, and when this returns it would
    survive a power cut. It is listed, verified and compared like any other. A run in the same directory neither
    resumes from it unasked nor removes it.

    Args:
        path: where to; `.ckpt.mml` is added if it is not there, and folders that are missing are made.
        state: by name, models, optimizers, their state dicts, arrays, plain values: `{"model": model, "epoch": 3}`.
            It must not change until this returns.
        overwrite: replace a checkpoint that has this path. Until the new one is complete and durable the path
            is that of the old one.
        metrics: numbers for its record, such as `{"val_loss": 0.31}`.
        share_with: paths of trusted checkpoints; arrays found there are linked, and not written again.
        durability: "process": it would survive the end of the process, and not a power cut. Faster.
        crew: the processes that have the state together, each of which calls this alike (`holdfast.crew.torch_crew()`): each writes
            what it has of DTensors, into one checkpoint in a directory that all of them see. What belongs to each process
            goes into `holdfast.crew.ByRank`. With it `overwrite` and `share_with` cannot be given yet.
        disk: where it goes, if not to the local file system.

    Raises:
        UsageError: `state` is not a mapping from names to objects, or `path` cannot be that of a checkpoint.
        UnsupportedStateError: something in it cannot be saved; it names the path and the type.
        CheckpointExistsError: there is one at `path`, and `overwrite` is False.
        CheckpointNotFoundError: there is none at a path in `share_with`.
        SaveError: the disk refused; what was at `path` is as it was.
    """
    disk = disk or LocalDisk()
    where = _full(path, disk)
    if crew is not None:
        _refuse_with_crew(overwrite=overwrite, share_with=bool(share_with))
        with failing_as_a_save(where):
            save_together(
                crew,
                where,
                lambda: _look(state, with_boxes=True),
                reason=f"saved by itself, by {crew.size} processes",
                hook=STANDALONE,
                metrics=numbers(metrics or {}),
                durability=_one_of(durability),
                watching=watched,
                disk=disk,
            )
        return Path(where)
    snapshot = _look(state)
    others = [share_with] if isinstance(share_with, str | os.PathLike) else share_with
    with ExitStack() as closing:
        trusted = [closing.enter_context(_verified(each, disk)) for each in others]
        closing.enter_context(failing_as_a_save(where))
        save_alone(
            where,
            snapshot,
            hook=STANDALONE,
            reason="saved by itself",
            metrics=numbers(metrics or {}),
            durability=_one_of(durability),
            is_watched=watched(snapshot.tree),
            trusted=trusted,
            overwrite=overwrite,
            disk=disk,
        )
    return Path(where)


@overload
def load(
    path: Path_,
    *,
    into: None = None,
    mmap: Literal[False] = False,
    max_bytes: int | None = None,
    disk: Storage | None = None,
) -> Any: ...
@overload
def load(
    path: Path_,
    *,
    into: None = None,
    mmap: Literal[True],
    max_bytes: int | None = None,
    disk: Storage | None = None,
) -> MappedArrays: ...
@overload
def load(
    path: Path_,
    *,
    into: Mapping[str, Any],
    mmap: Literal[False] = False,
    max_bytes: int | None = None,
    crew: Crew | None = None,
    disk: Storage | None = None,
) -> Restored: ...
def load(
    path: Path_,
    *,
    into: Mapping[str, Any] | None = None,
    mmap: bool = False,
    max_bytes: int | None = None,
    crew: Crew | None = None,
    disk: Storage | None = None,
) -> Any:
    """What was saved at `path`: containers as they were, arrays as NumPy arrays, objects as their plain state.

    Every byte is checked, and nothing that is read runs code.

    Args:
        path: of a checkpoint, whoever saved it; `.ckpt.mml` may be left out.
        into: restore in place instead: `load(path, into={"model": model})`, with the names that it was saved by; any
            part of them. All is checked before anything is changed. Values that cannot change in place (a number)
            are put into the mapping itself. Returns what `Checkpoint.restore` does, whose `report` says what was loaded.
        mmap: map the arrays instead, and read none before it is used; see `MappedArrays`.
        max_bytes: refuse a state whose new arrays would take more bytes; by default more than the machine has.
        crew: with `into`, the processes that restore it together, each of which calls this alike: all do, or none. They may be
            more or fewer than those that saved it.
        disk: where it is, if not on the local file system.

    Raises:
        CheckpointNotFoundError: there is none.
        StateMismatchError: it does not fit the objects in `into`; nothing was changed.
        DamagedError: it is not what was saved; nothing was changed.
        CrewError: another process of the crew cannot restore it; nothing was changed here.
        UsageError: `into` is not a mapping, or the arrays would take too much memory.
    """
    if into is not None and mmap:
        raise UsageError(
            "into= fills live objects, and mmap=True maps the file in place of that: pass one of them."
        )
    if crew is not None and into is None:
        raise UsageError(
            "crew= is for processes that restore together: pass the live objects of each as into=."
        )
    checkpoint = _open(path, disk or LocalDisk(), max_bytes)
    if mmap:
        return checkpoint.load(mmap=True)  # which reads from it later
    with checkpoint:
        try:
            return checkpoint.load() if into is None else checkpoint.restore(into, crew=crew)
        except StateMismatchError as err:
            err.hint = (
                "Build the objects as they were when saved; or holdfast.open(path).restore(state, strict=False) leaves what "
                "does not fit as it is."
            )
            raise


def _open(path: Path_, disk: Storage, max_bytes: int | None = None) -> Checkpoint:
    given = path_of(path)
    where = file_place(given)
    if where != given:  # by the environment (`holdfast torture`), and what is only read may not be there
        with suppress(CheckpointNotFoundError):
            return open_checkpoint(where, disk=disk, max_bytes=max_bytes)
    return open_checkpoint(given, disk=disk, max_bytes=max_bytes)


def _full(path: Path_, disk: Storage) -> str:
    """The path at which to save, suffix included."""
    text = path_of(path)
    if isinstance(disk, LocalDisk):
        refuse_url(text)
    return file_place(text.rstrip("/").removesuffix(bundle.SUFFIX) + bundle.SUFFIX)


def _look(value: Any, *, with_boxes: bool = False) -> state.LiveSnapshot:
    return state.look(dict(state.named(value)), with_boxes=with_boxes)


def _refuse_with_crew(**given: bool) -> None:
    """UsageError if one of these is given: several processes cannot do that yet."""
    for name, is_given in given.items():
        if is_given:
            raise UsageError(
                f"{name}= cannot be given with crew= yet: save under a name of its own, and leave it out."
            )


def _verified(path: Path_, disk: Storage) -> bundle.Bundle:
    opened = _open(path, disk).source
    try:
        opened.check([*leaves(opened.tree)])
    except BaseException:
        opened.close()
        raise
    return opened


def _one_of(durability: Any) -> Literal["full", "process"]:
    if durability not in ("full", "process"):
        raise UsageError(f"durability must be 'full' or 'process', not {durability!r}.")
    return durability
