"""Which arrays of a state are compared by default."""

from __future__ import annotations

from collections.abc import Iterator

from ..errors import UsageError
from ..numerics import is_floating
from ..paths import matches
from ..records import MODELS, RESERVED, Leaf, Node, leaves


def floating(tree: Node, only: str | None) -> Iterator[Leaf]:
    """The floating arrays that `only` matches (see `paths.matches`); by default those of the model graph, or of the loop's objects, or all.

    Logged values are not among them: its columns grow, and hold NaN where nothing was logged.

    Raises:
        UsageError: `only` matches none.
    """
    found = [leaf for leaf in leaves(tree) if is_floating(leaf.dtype)]
    if only is None:
        is_loop = isinstance(tree, dict) and tree.keys() >= {*RESERVED}
        own = [leaf for leaf in found if not (is_loop and leaf.path.partition("/")[0] in RESERVED)]
        yield from [leaf for leaf in own if matches(leaf.path, MODELS)] or own
        return
    chosen = [leaf for leaf in found if matches(leaf.path, only)]
    if not chosen:
        raise UsageError(
            f"no floating array matches {only!r}. `holdfast show BUNDLE --all` lists the arrays."
        )
    yield from chosen
