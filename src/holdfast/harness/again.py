"""A part of a run, done again in another process: from one of its checkpoints to a later one."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from .. import bundle
from ..checkpoint import open as open_checkpoint
from ..compare import unlike
from ..errors import CheckpointNotFoundError, CheckpointThinnedError, UsageError
from ..storage import LocalDisk, real_path
from ._replay import Replay, facts_of
from ._scratch import scratch


@dataclass(frozen=True, slots=True)
class Again:
    """What came of it.

    Attributes:
        exit_code: the script's.
        is_reached: whether it came to the later checkpoint.
        resumed: the verdict of its resume.
        differing: the paths at which the state is another one, arrays first; empty if it is the same.
    """

    exit_code: int
    is_reached: bool
    resumed: str = ""
    differing: tuple[str, ...] = ()


def do_again(
    command: Sequence[str], of: str, start: bundle.Listed, end: bundle.Listed, *, quiet: bool = False
) -> Again:
    """Run the script from `start` to `end`, both of the experiment in the directory `of`, in a scratch directory beside it.

    Nothing in `of` is touched. What the script prints goes to standard error, or nowhere if `quiet`.

    Raises:
        UsageError: it cannot be run.
        CheckpointNotFoundError, CheckpointThinnedError: one of the two cannot be used.
    """
    if start.record and start.record.details.get("thinned"):
        raise CheckpointThinnedError(start.path)
    if end.record is None:
        raise CheckpointNotFoundError(end.path, "its record cannot be read")
    of, disk = real_path(of), LocalDisk()
    here, there = (os.path.relpath(real_path(each.path), of) for each in (start, end))
    with (
        open_checkpoint(start) as opened,
        open_checkpoint(end) as expected,
        scratch(disk, of, opened.source, f"run/{here}") as where,
    ):
        told = Replay(of, where, there, facts_of(end.record.moment))
        code = _run(command, told, quiet)
        if bundle.look(disk, told.end) is None:
            return Again(code, is_reached=False)
        with open_checkpoint(told.end) as found:
            resume = found.record.details.get("resume", {})
            verdict = str(resume.get("verdict", "exact")) if isinstance(resume, dict) else "exact"
            return Again(code, True, verdict, tuple(unlike(expected, found)))


def _run(command: Sequence[str], told: Replay, quiet: bool) -> int:
    sys.stdout.flush()
    sys.stderr.flush()
    nowhere = subprocess.DEVNULL
    try:
        # Its output is for people: a program may be reading ours.
        done = subprocess.run(
            command,
            env=os.environ | {told.variable: told.to_text()},
            stdout=nowhere if quiet else 2,
            stderr=nowhere if quiet else None,
            check=False,
        )
    except OSError as err:
        raise UsageError(f"{command[0]!r} cannot be run: {err.strerror}.") from err
    return done.returncode
