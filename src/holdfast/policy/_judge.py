"""Which checkpoints stay, which go, and why, in words. Pure: facts come in, the caller removes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from ..records import CheckpointRecord
from ._keep import Keep, KeepBest, budget_of, is_nonfinite, parts_of


@dataclass(frozen=True, slots=True)
class Saved:
    """What is known of a checkpoint when it is decided whether it stays.

    `protected`: why it must stay, whatever the policy says; None if it may be removed. `files`: the
    bytes of each of its files, by what tells files apart: a file that two checkpoints share is one.
    """

    path: str
    record: CheckpointRecord
    protected: str | None = None
    files: Mapping[Hashable, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a checkpoint stays, and why.

    `turn`: those that go are removed in this order. So a kill between two removals leaves what is judged the same.
    """

    path: str
    record: CheckpointRecord
    stays: bool
    why: str
    turn: int = 0


def judge(saved: Sequence[Saved], keep: Keep | None = None) -> tuple[Verdict, ...]:
    """Of the checkpoints of one policy: what stays and what goes, oldest first.

    Args:
        saved: valid checkpoints, in any order.
        keep: what should stay; None: everything. Beyond its `MaxBytes` the oldest go, those among the best last.

    Whatever it says, three kinds stay: the newest, the newest finite one, and what is protected.
    """
    by_age = sorted(saved, key=lambda each: each.record.age_key)
    records = [each.record for each in by_age]
    must = _must_stay(by_age)
    wanted = {record.id: "everything is kept" for record in records} if keep is None else keep.choose(records)
    verdicts = [
        Verdict(each.path, each.record, True, must[id])
        if (id := each.record.id) in must
        else Verdict(each.path, each.record, id in wanted, wanted.get(id, "nothing asks for it"))
        for each in by_age
    ]
    max_bytes = budget_of(keep)
    if max_bytes is None:
        return tuple(verdicts)
    best = {id for part in parts_of(keep) if isinstance(part, KeepBest) for id in part.choose(records)}
    over = _over_budget(by_age, verdicts, must, best, max_bytes)
    why = f"over the budget of {max_bytes:,} bytes"
    return tuple(
        replace(verdict, stays=False, why=why, turn=1 + over.index(id))
        if (id := verdict.record.id) in over
        else verdict
        for verdict in verdicts
    )


def in_turn(verdicts: Sequence[Verdict]) -> list[Verdict]:
    """Those that go, in the order in which they should."""
    return sorted((verdict for verdict in verdicts if not verdict.stays), key=lambda verdict: verdict.turn)


def unmeasured(saved: Sequence[Saved], keep: Keep | None) -> set[str]:
    """The metrics by which the best should be kept, and that no checkpoint has."""
    monitors = {part.monitor for part in parts_of(keep) if isinstance(part, KeepBest)}
    return {name for name in monitors if all(name not in each.record.metrics for each in saved)}


def to_thin(saved: Sequence[Saved], thin_after: int) -> tuple[Saved, ...]:
    """Those that give up their optimizers: older than the `thin_after` newest, oldest first.

    Never the newest finite one, nor what is protected: a run may have to resume from them.
    """
    by_age = sorted(saved, key=lambda each: each.record.age_key)
    must = _must_stay(by_age)
    return tuple(
        each
        for each in by_age[:-thin_after]
        if each.record.id not in must and not each.record.details.get("thinned")
    )


def _must_stay(by_age: Sequence[Saved]) -> dict[str, str]:
    must = {each.record.id: each.protected for each in by_age if each.protected is not None}
    finite = [each.record.id for each in by_age if not is_nonfinite(each.record)]
    if finite:
        must.setdefault(finite[-1], "the newest finite one")
    if by_age:
        must[by_age[-1].record.id] = "the newest"
    return must


def _over_budget(
    by_age: Sequence[Saved],
    verdicts: Sequence[Verdict],
    must: Mapping[str, str],
    best: set[str],
    max_bytes: int,
) -> list[str]:
    """The ids that have to go, too, in turn, so that all files of the others, each counted once, fit."""
    staying = [each for each, verdict in zip(by_age, verdicts, strict=True) if verdict.stays]
    sizes = {file: size for each in staying for file, size in each.files.items()}
    names = Counter(file for each in staying for file in each.files)
    used = sum(sizes.values())
    going: list[str] = []
    for each in sorted(staying, key=lambda each: each.record.id in best):  # stable: oldest first
        if used <= max_bytes:
            break
        if each.record.id in must:
            continue
        going.append(each.record.id)
        for file in each.files:
            names[file] -= 1
            if not names[file]:
                used -= sizes[file]
    return going
