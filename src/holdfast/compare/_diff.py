"""Differences between two checkpoints: facts of their records, structure, plain values, arrays."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any, Final

from ..bundle import Bundle
from ..checkpoint import Place, source_of
from ..records import CheckpointRecord, Leaf, Node
from ..state import is_same, nodes
from ._arrays import ArrayChange, compare
from ._of_one_run import of_one_run


class _Absent(Enum):
    ABSENT = "absent"

    def __repr__(self) -> str:
        return "absent"


ABSENT: Final = _Absent.ABSENT
"""Stands for a value where there is none."""


@dataclass(frozen=True, slots=True)
class ValueChange:
    """A fact or plain value that differs; `ABSENT` where one side has none."""

    path: str
    old: Any
    new: Any


@dataclass(frozen=True, slots=True)
class Entry:
    """Something that only one of the states has: a `Leaf`, an `Alias`, an `Object` or a plain value."""

    path: str
    node: Node


@dataclass(frozen=True, slots=True)
class Diff:
    """The difference from checkpoint `a` to checkpoint `b`.

    Attributes:
        a, b: paths of the checkpoints.
        facts: what differs in their records: run, moment, reason, metrics, versions, environment, …
        arrays: all arrays that both have, what changed most first, those that are the same last.
        values: plain values that differ (hyperparameters among them), in the order of the state; also
            where one has an array and the other has not, or another kind of object.
        only_in_a, only_in_b: what only one of the states has.
        ignored: of the paths above, those that differ between any two runs of one script: ids, times, and random
            states from which neither run has drawn.
    """

    a: str
    b: str
    facts: tuple[ValueChange, ...]
    arrays: tuple[ArrayChange, ...]
    values: tuple[ValueChange, ...]
    only_in_a: tuple[Entry, ...]
    only_in_b: tuple[Entry, ...]
    ignored: tuple[str, ...] = ()

    @property
    def changed(self) -> tuple[ArrayChange, ...]:
        """The arrays that differ in any bit, in dtype, or in shape."""
        return tuple(change for change in self.arrays if not change.is_same)

    @property
    def differing(self) -> tuple[str, ...]:
        """The paths of all that differs, arrays first."""
        found = (*self.changed, *self.values, *self.only_in_a, *self.only_in_b)
        return tuple(dict.fromkeys(each.path for each in found))

    @property
    def same_state(self) -> bool:
        """Whether both states are equal, bit for bit, but for what is `ignored`.

        Two runs of one script that are at the same place have the same state then, and the same `state_digest()`.
        """
        return set(self.differing) <= set(self.ignored)


def diff(a: Place, b: Place) -> Diff:
    """The differences from checkpoint `a` to checkpoint `b`.

    Arrays are streamed, a piece at a time; those whose digests are equal are not read at all. Sums are in
    float64, whatever the element type.

    Raises:
        CheckpointNotFoundError, DamagedError, FormatVersionError: one of them cannot be read.
    """
    with contextlib.ExitStack() as opened:
        one, other = (source_of(place, opened) for place in (a, b))
        return diff_of(one, other)


def diff_of(a: Bundle, b: Bundle) -> Diff:
    """As `diff`, for opened bundles."""
    old, new = dict(nodes(a.tree)), dict(nodes(b.tree))
    arrays: list[ArrayChange] = []
    values: list[ValueChange] = []
    for path, was in old.items():
        if path not in new:
            continue
        now = new[path]
        if isinstance(was, Leaf) and isinstance(now, Leaf):
            arrays.append(compare(a, was, b, now))
        elif not is_same(was, now):
            values.append(ValueChange(path, was, now))
    found = Diff(
        a.path,
        b.path,
        facts=tuple(_differences(_facts(a.record), _facts(b.record))),
        arrays=tuple(
            sorted(arrays, key=lambda each: (not each.is_same, *each.most, each.size), reverse=True)
        ),
        values=tuple(values),
        only_in_a=tuple(_only_in(old, new)),
        only_in_b=tuple(_only_in(new, old)),
    )
    return replace(found, ignored=of_one_run(a, b, found.differing))


def _only_in(one: Mapping[str, Any], other: Mapping[str, Any]) -> Iterator[Entry]:
    for path, node in one.items():
        array = path.removesuffix("/")  # of what is nothing but one, the kind stands beside it
        if path not in other and (array == path or array in other):
            yield Entry(path, node)


def _differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[ValueChange]:
    for name in {**old, **new}:
        was, now = old.get(name, ABSENT), new.get(name, ABSENT)
        if not is_same(was, now):
            yield ValueChange(name, was, now)


def _facts(record: CheckpointRecord) -> dict[str, Any]:
    moment = record.moment
    facts: dict[str, Any] = {"kind": record.kind, "run": record.run}
    facts |= {f"moment.{name}": getattr(moment, name) for name in ("hook", "phase", "epoch", "batch", "step")}
    facts |= {"reason": record.reason, "durability": record.durability, "commit": record.commit}
    for group in ("metrics", "versions", "environment", "details"):
        facts |= _flat(group, getattr(record, group))
    return facts


def _flat(name: str, value: Any) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        return {name: value}
    return {
        path: each for key, inner in value.items() for path, each in _flat(f"{name}.{key}", inner).items()
    }
