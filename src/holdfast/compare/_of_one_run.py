"""What of a state differs between any two runs of one script, and is no part of what they have in common."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from .. import state
from ..bundle import Bundle
from ..paths import child, matches
from ..records import VARIABLES

_IDS_AND_TIMES = (
    "run/id",
    "run/streams_at_start",
    "run/variables",
    "history",
    "results/run",
    "results/phases/*/timings",
)
_STREAMS = ("random", "run/position/**/streams", "run/position/**/before")
"""Where the global random states are, as they are now and as they were when an epoch's data were begun."""


def of_one_run(a: Bundle, b: Bundle, differing: Iterable[str]) -> tuple[str, ...]:
    """Of the paths at which these checkpoints differ, those of ids, times, and random states from which neither has drawn.

    The seeds of the latter are arbitrary. A random state that one of the runs has used counts. The script's own
    variables count only where something else differs: they may be the cause of that, and alone may be no more than
    times that the script has taken.
    """
    patterns = [*_IDS_AND_TIMES, *(_unused(a) & _unused(b))]
    paths = list(differing)
    counting = [path for path in paths if not any(matches(path, each) for each in patterns)]
    if all(matches(path, VARIABLES) for path in counting):
        counting = []
    return tuple(path for path in paths if path not in counting)


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
