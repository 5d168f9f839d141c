"""Which checkpoint to resume from: the one requested, or the newest complete one, and what was skipped on the way."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from typing import Final, Literal, Protocol, TypeVar

from ... import bundle, fingerprint
from ..._wording import ranks_in_words
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
from ...records import IMPORTED, STANDALONE, CheckpointRecord
from .._directory import ExperimentDirectory
from .options import Origin
from .report import Resumption

logger = logging.getLogger("holdfast")

Loaded = TypeVar("Loaded", covariant=True)

_DAMAGE: Final = (DamagedError, RestoreIncompleteError, CheckpointNotFoundError, CheckpointThinnedError)


class Load(Protocol[Loaded]):
    """Puts an opened checkpoint into live objects; see `resume_from`."""

    def __call__(
        self,
        opened: bundle.Bundle,
        verify: Literal["first", "streaming"],
        ready: Callable[[], None],
        /,
    ) -> tuple[Loaded, Sequence[str]]: ...


BUILD = "Build the objects as they were when saved, or start again with resume=False in another directory."


_COPIED = (
    "run {} saved the checkpoint in another directory, and no run has saved in this one: pass resume={!r} if it is to be "
    "resumed here"
)


def resume_from(
    directory: ExperimentDirectory,
    origin: Origin,
    load: Load[Loaded],
    *,
    finite_only: bool = False,
    advice: str | None = None,
) -> tuple[Resumption, Loaded] | None:
    """Let `load` put the requested checkpoint into live objects; if damage stops it, the next older one.

    `load` gets the opened bundle and how to verify it: "streaming" where an older one would overwrite what
    damage leaves half-filled, "first" for one that was requested by name; and what it has to call before it changes anything. It
    answers with what it loaded and the paths of what had been left out and was kept as it is. Of several ranks all load the same
    one: which, rank 0 finds. The directory's run then resumes from it. None if `origin` is True and there is no checkpoint at all.
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
    for listed in _candidates_of_all(
        directory, lambda: _candidates(directory, origin, belongs, finite_only, skipped)
    ):
        try:
            with ExitStack() as closing:
                with directory.ranks.attempt(listed.path, _DAMAGE) as ready:
                    opened = closing.enter_context(_opened(directory, listed))
                    loaded, kept = _loaded(load, opened, "streaming" if origin is True else "first", ready)
                is_foreign = origin is True and not belongs(opened.record)
                directory.resume_from(opened)
        except StateMismatchError as err:
            err.hint = BUILD if advice is None else advice
            raise
        except _DAMAGE as err:
            if origin is not True:
                raise
            # The path stands before it, and what to do is said once, at the end.
            is_damage = isinstance(err, CheckpointDamagedError | PieceDamagedError)
            why = f"damaged: {err.what}" if is_damage else err
            logger.warning("skipped %s: %s", listed.path, why)
            skipped.append(f"{listed.path}: {why}")
            continue
        record = opened.record
        context = _differing(record) + [
            f"{path} is not in the checkpoint, and was left as it was" for path in kept
        ]
        context += fingerprint.differences(record.versions, fingerprint.versions())
        context += fingerprint.differences(record.environment, fingerprint.environment())
        copied = [_COPIED.format(record.run, record.name)] if is_foreign else []
        directory.resumption = Resumption(listed.path, record, skipped, context, copied, directory.ranks)
        return directory.resumption, loaded
    if skipped:
        raise CheckpointDamagedError(
            directory.path, "none of its checkpoints can be used; " + "; ".join(skipped[:3])
        )
    return None


def _opened(directory: ExperimentDirectory, listed: bundle.Listed) -> bundle.Bundle:
    if listed.problem:
        raise listed.problem
    if listed.record and listed.record.details.get("thinned"):
        raise CheckpointThinnedError(listed.path)
    expected = listed.record.id if listed.record else None
    return bundle.Bundle(directory.disk, listed.path, expected_id=expected)


def _loaded(
    load: Load[Loaded],
    opened: bundle.Bundle,
    verify: Literal["first", "streaming"],
    ready: Callable[[], None],
) -> tuple[Loaded, Sequence[str]]:
    try:
        return load(opened, verify, ready)
    except _DAMAGE as err:
        if isinstance(err.__cause__, CheckpointUnreadableError):
            raise err.__cause__ from None  # which is no damage: the same checkpoint may be read in a minute
        raise


def _candidates_of_all(
    directory: ExperimentDirectory, find: Callable[[], Iterator[bundle.Listed]]
) -> Iterator[bundle.Listed]:
    """What `find` gives on rank 0, on each rank as it sees it."""
    ranks = directory.ranks
    found = find()
    if not ranks.are_several:
        yield from found
        return
    while True:
        mine: list[bundle.Listed] = []

        def next_path(mine: list[bundle.Listed] = mine) -> str:
            mine += [each] if (each := next(found, None)) else []
            return mine[0].path if mine else ""

        path = ranks.first(next_path)
        if not path:
            return
        yield mine[0] if mine else _seen(directory, path)


def _seen(directory: ExperimentDirectory, path: str) -> bundle.Listed:
    """What this rank sees of a checkpoint that rank 0 has found."""
    try:
        listed = bundle.look(directory.disk, path)
    except CheckpointUnreadableError as err:
        return bundle.Listed(path, None, err)
    return listed or bundle.Listed(path, None, CheckpointNotFoundError(path, "this process does not see it"))


def _candidates(
    directory: ExperimentDirectory,
    origin: Origin,
    belongs: Callable[[CheckpointRecord], bool],
    finite_only: bool,
    skipped: list[str],
) -> Iterator[bundle.Listed]:
    if origin is True:
        newest_first = _of_this_directory(directory, belongs)
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


def _of_this_directory(
    directory: ExperimentDirectory, belongs: Callable[[CheckpointRecord], bool]
) -> list[bundle.Listed]:
    """Newest first, all that its runs have saved; what was copied there from elsewhere, only if there is nothing else."""
    newest_first = [each for each in directory.scan()[::-1] if not _is_alone(each)]
    foreign = [each for each in newest_first if each.record and not belongs(each.record)]
    if not foreign or not any(each.record and belongs(each.record) for each in newest_first):
        return newest_first
    for each in foreign:
        logger.info("left out %s: a run of another directory saved it; name it to resume from it", each.path)
    return [each for each in newest_first if each not in foreign]


def _differing(record: CheckpointRecord) -> list[str]:
    """A sentence if ranks had other values than those of rank 0, which were saved."""
    ranks = record.details.get("differing_ranks")
    known = [each for each in ranks if isinstance(each, int)] if isinstance(ranks, list | tuple) else []
    what = "had other values than rank 0 of what all should have alike when it was saved, and have those of rank 0 now"
    return [f"{ranks_in_words(known)} {what}"] if known else []


def _is_alone(listed: bundle.Listed) -> bool:
    """Whether no run saved it: then none resumes from it unasked."""
    return listed.record is not None and listed.record.moment.hook in (STANDALONE, IMPORTED)
