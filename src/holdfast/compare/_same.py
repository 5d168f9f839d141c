"""Whether two runs of one script reached the same state: everything that decides what comes next, and the results."""

from __future__ import annotations

import contextlib

from ..checkpoint import Place, source_of
from ..paths import matches
from ..records import VARIABLES, leaves
from ._diff import diff_of


def unlike(a: Place, b: Place) -> list[str]:
    """Paths at which two checkpoints, of a run and of its repetition, differ: arrays first, in the order of the state.

    Ids and times are ignored, and so are random states from which neither run has drawn; `Diff.same_state` agrees.
    The script's own variables come last.

    Raises: as `diff`.
    """
    with contextlib.ExitStack() as opened:
        one, other = (source_of(place, opened) for place in (a, b))
        found = diff_of(one, other)
        at = {leaf.path: index for index, leaf in enumerate(leaves(one.tree))}
    arrays = {change.path for change in found.changed}
    differing = [path for path in found.differing if path not in found.ignored]

    def rank(path: str) -> tuple[bool, bool, int]:
        return matches(path, VARIABLES), path not in arrays, at.get(path, 0) if path in arrays else 0

    return sorted(differing, key=rank)
