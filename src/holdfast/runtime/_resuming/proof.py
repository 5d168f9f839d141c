"""The proof of a resume: what led to the checkpoint is done again, in another process, and compared with it."""

from __future__ import annotations

import logging
import os
import sys

from ... import bundle
from ...errors import CheckpointThinnedError, CheckpointUnreadableError, DamagedError, UsageError
from ...harness import DIRECTORY, asked, living
from ...records import MANUAL
from .._directory import ExperimentDirectory
from .report import Resumption

logger = logging.getLogger("holdfast")


def prove(directory: ExperimentDirectory, resumption: Resumption) -> None:
    """Run the script from the checkpoint before the one that was resumed from to that one; let the verdict say what came of it.

    Where that cannot be done the verdict stays what it is, and the log says why. A script that is itself run by `holdfast check`,
    `replay` or `torture` proves nothing.

    Raises:
        UsageError: there is no script that could be run again.
    """
    if asked() is not None or living() is not None or os.environ.get(DIRECTORY):
        return
    from ...harness.again import do_again  # most runs prove nothing, and need not compare checkpoints

    end = bundle.look(directory.disk, resumption.report.path)
    start = None if end is None else _before(directory, end)
    if end is None or start is None:
        logger.warning("not proved: there is no checkpoint before %s", resumption.report.path)
        return
    try:
        again = do_again(_command(), directory.path, start, end, quiet=True)
    except (CheckpointThinnedError, CheckpointUnreadableError, DamagedError) as err:
        logger.warning("not proved: %s", err)
        return
    if not again.is_reached:
        logger.warning(
            "not proved: run again, the script ended with exit code %d before %s was saved",
            again.exit_code,
            end.path,
        )
    elif again.differing:
        resumption.add(
            [
                f"done again from {start.path}, the run came to another state: {again.differing[0]!r} is not the same"
            ]
        )
    else:
        resumption.is_proved = True


def _before(directory: ExperimentDirectory, end: bundle.Listed) -> bundle.Listed | None:
    """The checkpoint that its run saved before this one: its parent, or the next older one that is still there."""
    record = end.record
    if record is None or record.moment.hook == MANUAL:
        return None
    older = [each for each in directory.own() if each.record and each.record.age_key < record.age_key]
    parents = [each for each in older if each.record and each.record.id == record.parent]
    return next(reversed([*older, *parents]), None)


def _command() -> list[str]:
    if hasattr(sys, "ps1") or "ipykernel" in sys.modules or not sys.orig_argv[1:]:
        raise UsageError(
            "prove=True runs the script again, and there is none here: leave it out in a notebook."
        )
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise UsageError("prove=True runs one process again, and these are several: use holdfast replay.")
    return [sys.executable, *sys.orig_argv[1:]]
