"""Who comes from whom: checkpoints as trees, by the parents that their records name."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

from ..bundle import Listed, by_age
from ..records import CheckpointRecord
from ._fork import FORKED_FROM

Relation = Literal["root", "next", "left", "fork", "made from"]
"""How a checkpoint relates to its parent: the next of the run; on a line that the run abandoned in a rollback; the
first of a fork; derived from it in another way (a copy, an average). A root has no parent, or an unknown one."""


@dataclass(slots=True, eq=False)
class Kin:
    """A checkpoint among its kin; `children` are in order of creation."""

    listed: Listed
    record: CheckpointRecord
    relation: Relation = "root"
    parent: Kin | None = None
    children: list[Kin] = field(default_factory=list)

    @property
    def next(self) -> Kin | None:
        """The next checkpoint of its run."""
        return next((child for child in self.children if child.relation == "next"), None)


def lineage(listed: Iterable[Listed]) -> list[Kin]:
    """The roots of the trees that these checkpoints are, oldest first; those without a record are left out.

    The parent of one whose own is gone is the one before it in its run, if there is one.
    """
    kin: dict[str, Kin] = {}
    latest: dict[str, Kin] = {}  # by run
    for each in sorted(listed, key=_when):
        if each.record is None or each.record.id in kin:
            continue
        one = kin[each.record.id] = Kin(each, each.record)
        one.parent = kin.get(each.record.parent or "") or latest.get(each.record.run)
        latest[each.record.run] = one
        if one.parent is not None:
            one.parent.children.append(one)
            one.relation = _relation(one, one.parent)
    for one in kin.values():
        followers = [child for child in one.children if child.relation == "next"]
        for left in followers[:-1]:  # the run was rolled back to here
            left.relation = "left"
    return [one for one in kin.values() if one.parent is None]


def _when(listed: Listed) -> tuple[object, ...]:
    # Parents come first: a run's own by age, and those of other runs by the clock.
    return (listed.record.created, *by_age(listed)) if listed.record else ("", *by_age(listed))


def _relation(one: Kin, parent: Kin) -> Relation:
    if FORKED_FROM in one.record.details:
        return "fork"
    return "next" if one.record.run == parent.record.run and one.record.seq else "made from"
