"""Whether two runs of one script reached the same state: everything that decides what comes next, and the results."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping

from .. import state
from ..bundle import Bundle
from ..checkpoint import Place, source_of
from ..paths import child, matches
from ..records import VARIABLES, leaves
from ._diff import diff_of

_OF_ONE_RUN = (
    "run/id",
    "run/streams_at_start",
    "run/variables",
    "history",
    "results/run",
    "results/phases/*/timings",
)
"""Ids and times: they differ between any two runs."""


def unlike(a: Place, b: Place) -> list[str]:
    """Paths at which two checkpoints, of a run and of its repetition, differ: arrays first, in the order of the state.

    Ids and times are ignored, and so are random states from which neither run has drawn: their seeds are arbitrary.
    The script's own variables come last, and count only where something else differs: they may be the cause of that,
    and alone may be no more than times that the script has taken.

    Raises: as `diff`.
    """
    with contextlib.ExitStack() as opened:
        one, other = (source_of(place, opened) for place in (a, b))
        found = diff_of(one, other)
        ignored = [*_OF_ONE_RUN, *(_unused(one) & _unused(other))]
        at = {leaf.path: index for index, leaf in enumerate(leaves(one.tree))}
        differing = [
            *sorted((change.path for change in found.changed), key=lambda path: at.get(path, 0)),
            *(change.path for change in found.values),
            *(entry.path for entry in (*found.only_in_a, *found.only_in_b)),
        ]
    paths = [path for path in dict.fromkeys(differing) if not any(matches(path, each) for each in ignored)]
    others = [path for path in paths if not matches(path, VARIABLES)]
    return [*others, *(path for path in paths if path not in others)] if others else []


def _unused(opened: Bundle) -> set[str]:
    """The paths of global random states that have not changed since the run began."""
    tree = opened.tree
    if not isinstance(tree, dict) or not isinstance(tree.get("run"), Mapping):
        return set()
    at_start, streams = tree["run"].get("streams_at_start"), tree.get("random")
    if not isinstance(at_start, Mapping) or not isinstance(streams, Mapping):
        return set()
    return set(_as_at_start(opened, streams, at_start))


def _as_at_start(opened: Bundle, streams: Mapping[str, object], at_start: Mapping[str, str]) -> Iterator[str]:
    for name, node in streams.items():
        if state.digest(opened, node) == at_start.get(name):
            yield child("random", name)
