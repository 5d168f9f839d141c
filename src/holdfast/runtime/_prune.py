"""Pruning a directory on request, in two halves: `plan` looks and judges, `prune` removes."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace

from .. import bundle
from ..checkpoint import remove, run_at, scan
from ..errors import CheckpointNotFoundError, CheckpointPinnedError, CheckpointReplacedError, UsageError
from ..policy import Keep, Saved, Verdict, budget_of, in_turn, judge
from ..records import MANUAL, CheckpointRecord
from ..storage import LocalDisk, Storage, local_path
from ._directory import ExperimentDirectory


def plan(
    directory: str | os.PathLike[str],
    keep: Keep,
    *,
    run: str | None = None,
    disk: Storage | None = None,
) -> list[Verdict]:
    """What of an experiment's directory would stay and what would go, and why, oldest first; changes nothing.

    Args:
        keep: such as `KeepLast(3) | KeepBest(2, "val_loss")`, or `MaxBytes("20 GB")`, in real bytes on the disk; judged
            for each folder for itself, as policies do.
        run: whose checkpoints are judged; None: that of the newest. What other runs wrote stays.

    Damaged checkpoints have no record to judge them by, so they are not in the answer and stay.

    Raises:
        CheckpointNotFoundError: there is no such directory.
        CheckpointUnreadableError: the system refuses to show what is there, which may be the newest.
        UsageError: `keep` is nothing of the kind, or there is no such run.
    """
    if not isinstance(keep, Keep):
        raise UsageError(f"say what to keep, such as KeepLast(3) or MaxBytes('20 GB'), not {keep!r}.")
    disk, place = disk or LocalDisk(), local_path("directory", directory).rstrip("/") or "/"
    found = scan(place, disk=disk)
    bundle.refuse_unreadable(found)
    listed = [(each.path, each.record) for each in found if each.record is not None]
    run = _run(listed, run)
    if run is None:
        return []
    origin = _resumed_from([record for _, record in listed if record.run == run])
    groups: dict[tuple[str, str], list[Saved]] = {}
    verdicts = []
    for path, record in listed:
        if record.run != run:
            verdicts.append(Verdict(path, record, True, "another run saved it"))
        elif record.moment.hook == MANUAL:
            verdicts.append(Verdict(path, record, True, "saved on request"))
        else:
            saved = Saved(path, record, _protected(disk, path, record, origin))
            if budget_of(keep) is not None:
                saved = replace(saved, files=bundle.file_sizes(disk, path))
            groups.setdefault((os.path.dirname(path), record.kind), []).append(saved)
    for saved_here in groups.values():
        verdicts += judge(saved_here, keep)
    return sorted(verdicts, key=lambda verdict: (verdict.record.age_key, verdict.path))


def prune(
    directory: str | os.PathLike[str],
    keep: Keep,
    *,
    run: str | None = None,
    disk: Storage | None = None,
) -> list[Verdict]:
    """Remove what `plan` says, while no run is active there; returns the plan, with those that could not go as staying.

    Raises:
        UsageError: as `plan`.
        RunActiveError: a live process runs an experiment there.
        SaveError: the disk refused.
    """
    disk = disk or LocalDisk()
    # Of a phase's folder it is the experiment's directory that a live run holds.
    homes = {run_at(verdict.path, disk)[0] for verdict in plan(directory, keep, run=run, disk=disk)}
    if not homes:
        return []  # nothing is claimed, nor made, where there is no checkpoint
    with ExitStack() as held:
        for home in sorted(homes):
            held.enter_context(ExperimentDirectory(home, run or "", disk=disk))
        # Only now nothing changes any more.
        verdicts = plan(directory, keep, run=run, disk=disk)
        done = {verdict.path: _carried_out(verdict, disk) for verdict in in_turn(verdicts)}
        return [done.get(verdict.path, verdict) for verdict in verdicts]


def _carried_out(verdict: Verdict, disk: Storage) -> Verdict:
    try:
        remove(bundle.Listed(verdict.path, verdict.record), disk=disk)
    except (CheckpointNotFoundError, CheckpointPinnedError, CheckpointReplacedError) as err:
        return replace(verdict, stays=True, why=str(err))
    return verdict


def _run(listed: Sequence[tuple[str, CheckpointRecord]], run: str | None) -> str | None:
    """The run meant, whose id may be cut short; that of the newest checkpoint that a run saved."""
    runs = [record.run for _, record in listed if record.seq > 0]
    if run is None:
        return runs[-1] if runs else None
    matching = {each for each in runs if each.startswith(run)}
    if len(matching) != 1:
        raise UsageError(
            f"{len(matching)} runs here have an id that begins with {run!r}; there has to be one."
        )
    return matching.pop()


def _resumed_from(own: Sequence[CheckpointRecord]) -> str | None:
    """The id of the checkpoint that the process which saved the newest resumed from, where it is recorded."""
    resume = own[-1].details.get("resume") if own else None
    origin = resume.get("from") if isinstance(resume, Mapping) else None
    return origin if isinstance(origin, str) else None


def _protected(disk: Storage, path: str, record: CheckpointRecord, origin: str | None) -> str | None:
    if bundle.is_pinned(disk, path):
        return "it is pinned"
    return "the run resumed from it" if record.id == origin else None
