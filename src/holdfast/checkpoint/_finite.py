"""Finite or not: which arrays should be finite, and what a record says of those that are not."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..paths import matches
from ..policy import is_nonfinite
from ..records import MODELS, CheckpointRecord, Node

_BOOKS = ("run", "results", "random")  # the library's own: in results, NaN stands where a row has no value


@dataclass(frozen=True, slots=True)
class _Watched:
    inside: str | None
    may_be_infinite: tuple[str, ...]

    def __call__(self, path: str) -> bool:
        top = path.partition("/")[0]
        ours = top == self.inside if self.inside is not None else top not in _BOOKS
        return ours and not any(matches(path, pattern) for pattern in self.may_be_infinite)


def watched(tree: Node, may_be_infinite: Sequence[str] = ()) -> Callable[[str], bool]:
    """Which arrays of this state, by path, should be finite: models and optimizers, or all that a loop trains.

    Equal for states of which the same ones should be.
    """
    inside = MODELS if isinstance(tree, dict) and MODELS in tree else None
    return _Watched(inside, tuple(may_be_infinite))


def nonfinite_leaves(record: CheckpointRecord) -> dict[str, tuple[int, int]]:
    """NaNs and infinities of the arrays that a record names as not finite; empty if there are none."""
    leaves = _nonfinite(record).get("leaves")
    if not isinstance(leaves, Mapping):
        return {}
    return {
        str(path): (int(counts[0]), int(counts[1])) for path, counts in leaves.items() if _is_pair(counts)
    }


def describe_nonfinite(record: CheckpointRecord) -> str | None:
    """`not finite: 2 arrays, model/weight (3 NaN, 1 infinite) first`; None if all arrays are finite."""
    if not is_nonfinite(record):
        return None
    leaves = nonfinite_leaves(record)
    number = _nonfinite(record).get("sick", len(leaves))
    first = ""
    if leaves:
        path, (nans, infs) = next(iter(leaves.items()))
        counts = [f"{count:,} {what}" for count, what in ((nans, "NaN"), (infs, "infinite")) if count]
        first = f", {path} ({', '.join(counts)})" + (" first" if len(leaves) > 1 else "")
    return f"not finite: {number} array{'' if number == 1 else 's'}{first}"


def _nonfinite(record: CheckpointRecord) -> Mapping[str, Any]:
    found = record.details.get("health")
    return found if isinstance(found, Mapping) else {}


def _is_pair(counts: Any) -> bool:
    return isinstance(counts, list | tuple) and len(counts) == 2 and all(isinstance(n, int) for n in counts)
