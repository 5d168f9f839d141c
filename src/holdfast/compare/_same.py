"""Whether two runs of one script reached the same state: everything that decides what comes next, and the results."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping

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

_STREAMS = ("random", "run/position/**/streams", "run/position/**/before")
"""Where the global random states are, as they are now and as they were when an epoch's data were begun."""


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
    """The paths of global random states that have not changed since the run began, and of copies of them at an epoch's start."""
    tree = opened.tree
    if not isinstance(tree, dict) or not isinstance(tree.get("run"), Mapping):
        return set()
    at_start, streams = tree["run"].get("streams_at_start"), tree.get("random")
    if not isinstance(at_start, Mapping) or not isinstance(streams, Mapping):
        return set()
    unused = [name for name, node in streams.items() if state.digest(opened, node) == at_start.get(name)]
    return {child(above, name) for name in unused for above in _STREAMS}
