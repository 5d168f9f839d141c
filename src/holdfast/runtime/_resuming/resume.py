"""Which checkpoint to resume from: the one requested, or the newest complete one, and what was skipped on the way."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from typing import Literal, TypeVar

from ... import bundle, fingerprint
from ...checkpoint import describe_nonfinite, locate
from ...errors import (
    CheckpointDamagedError,
    CheckpointNotFoundError,
    CheckpointThinnedError,
    CheckpointUnreadableError,
    DamagedError,
    PieceDamagedError,
    RestoreIncompleteError,
    StateMismatchError,
)
from ...policy import is_nonfinite
from ...records import IMPORTED, STANDALONE
from .._directory import ExperimentDirectory
from .options import Origin
from .report import Resumption

logger = logging.getLogger("holdfast")

Loaded = TypeVar("Loaded")

BUILD = "Build the objects as they were when saved, or start again with resume=False in another directory."


_COPIED = (
    "run {} saved the checkpoint in another directory, and no run has saved in this one: pass resume={!r} if it is to be "
    "resumed here"
)


def resume_from(
    directory: ExperimentDirectory,
    origin: Origin,
    load: Callable[[bundle.Bundle, Literal["first", "streaming"]], tuple[Loaded, Sequence[str]]],
    *,
    finite_only: bool = False,
    advice: str | None = None,
) -> tuple[Resumption, Loaded] | None:
    """Let `load` put the requested checkpoint into live objects; if damage stops it, the next older one.

    `load` gets the opened bundle and how to verify it: "streaming" where an older one would overwrite what
    damage leaves half-filled, "first" for one that was requested by name; it answers with what it loaded and
    the paths of what had been left out and was kept as it is. The directory's run then resumes from it. None if `origin` is True and there is no checkpoint at all.
    `finite_only`: skip those that are not finite, if there is one that is. `advice`: what to do about a state that does
    not fit, if more can be done than to build the objects as they were.

    Raises:
        CheckpointNotFoundError: the one requested is not there.
        UsageError: what was requested means several.
        DamagedError: it is damaged, and nothing was changed; or all are, with `origin=True`.
        CheckpointUnreadableError: the system refuses to read it; with `origin=True` any that may be the newest.
        CheckpointThinnedError: the one requested has no optimizer any more; nothing was changed.
    """
    skipped: list[str] = []
    belongs = directory.belongs()
    for listed in _candidates(directory, origin, finite_only, skipped):
        try:
            if listed.problem:
                raise listed.problem
            if listed.record and listed.record.details.get("thinned"):
                raise CheckpointThinnedError(listed.path)
            expected = listed.record.id if listed.record else None
            with bundle.Bundle(directory.disk, listed.path, expected_id=expected) as opened:
                is_foreign = origin is True and not belongs(opened.record)
                loaded, kept = load(opened, "streaming" if origin is True else "first")
                directory.resume_from(opened)
        except StateMismatchError as err:
            err.hint = BUILD if advice is None else advice
            raise
        except (
            DamagedError,
            RestoreIncompleteError,
            CheckpointNotFoundError,
            CheckpointThinnedError,
        ) as err:
            if isinstance(err.__cause__, CheckpointUnreadableError):
                raise err.__cause__ from None  # which is no damage: the same checkpoint may be read in a minute
            if origin is not True:
                raise
            # The path stands before it, and what to do is said once, at the end.
            is_damage = isinstance(err, CheckpointDamagedError | PieceDamagedError)
            why = f"damaged: {err.what}" if is_damage else err
            logger.warning("skipped %s: %s", listed.path, why)
            skipped.append(f"{listed.path}: {why}")
            continue
        record = opened.record
        context = [f"{path} is not in the checkpoint, and was left as it was" for path in kept]
        context += fingerprint.differences(record.versions, fingerprint.versions())
        context += fingerprint.differences(record.environment, fingerprint.environment())
        copied = [_COPIED.format(record.run, record.name)] if is_foreign else []
        directory.resumption = Resumption(listed.path, record, skipped, context, copied)
        return directory.resumption, loaded
    if skipped:
        raise CheckpointDamagedError(
            directory.path, "none of its checkpoints can be used; " + "; ".join(skipped[:3])
        )
    return None


def _candidates(
    directory: ExperimentDirectory, origin: Origin, finite_only: bool, skipped: list[str]
) -> Iterator[bundle.Listed]:
    if origin is True:
        newest_first = _of_this_directory(directory)
        bundle.refuse_unreadable(newest_first)
        # Without a record its age is unknown, so a damaged one is always reported.
        yield from (listed for listed in newest_first if isinstance(listed.problem, DamagedError))
        usable = [listed for listed in newest_first if not isinstance(listed.problem, DamagedError)]
        nonfinite = [
            listed for listed in usable if finite_only and listed.record and is_nonfinite(listed.record)
        ]
        for listed in usable:
            if listed not in nonfinite:
                yield listed
            elif listed.record:
                skipped.append(f"{listed.path}: {describe_nonfinite(listed.record)}")
        yield from nonfinite
    else:
        yield locate(origin, directory=directory.path, among=directory.scan, disk=directory.disk)


def _of_this_directory(directory: ExperimentDirectory) -> list[bundle.Listed]:
    """Newest first, all that its runs have saved; what was copied there from elsewhere, only if there is nothing else."""
    newest_first = [each for each in directory.scan()[::-1] if not _is_alone(each)]
    belongs = directory.belongs()
    foreign = [each for each in newest_first if each.record and not belongs(each.record)]
    if not foreign or not any(each.record and belongs(each.record) for each in newest_first):
        return newest_first
    for each in foreign:
        logger.info("left out %s: a run of another directory saved it; name it to resume from it", each.path)
    return [each for each in newest_first if each not in foreign]


def _is_alone(listed: bundle.Listed) -> bool:
    """Whether no run saved it: then none resumes from it unasked."""
    return listed.record is not None and listed.record.moment.hook in (STANDALONE, IMPORTED)
