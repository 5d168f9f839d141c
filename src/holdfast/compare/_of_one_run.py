"""What of a state differs between any two runs of one script, and is no part of what they have in common."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from .. import state
from ..bundle import Bundle
from ..paths import child, matches

_IDS_AND_TIMES = ("run/id", "run/streams_at_start", "history", "results/run", "results/phases/*/timings")


def of_one_run(a: Bundle, b: Bundle, differing: Iterable[str]) -> tuple[str, ...]:
    """Of the paths at which these checkpoints differ, those of ids, times, and random states from which neither has drawn.

    The seeds of the latter are arbitrary. A random state that one of the runs has used counts.
    """
    patterns = [*_IDS_AND_TIMES, *(_unused(a) & _unused(b))]
    return tuple(path for path in differing if any(matches(path, each) for each in patterns))


def _unused(opened: Bundle) -> set[str]:
    """The paths of global random states that have not changed since the run began."""
    tree = opened.tree
    if not isinstance(tree, dict) or not isinstance(tree.get("run"), Mapping):
        return set()
    at_start, streams = tree["run"].get("streams_at_start"), tree.get("random")
    if not isinstance(at_start, Mapping) or not isinstance(streams, Mapping):
        return set()
    return {
        child("random", name)
        for name, node in streams.items()
        if state.digest(opened, node) == at_start.get(name)
    }
