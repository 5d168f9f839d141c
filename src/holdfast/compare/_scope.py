"""Which arrays of a state a question is about, if the asker does not say."""

from __future__ import annotations

from collections.abc import Iterator

from ..errors import UsageError
from ..numerics import is_floating
from ..paths import matches
from ..records import Leaf, Node, leaves

MODELS = "model_graph"


def floating(tree: Node, only: str | None) -> Iterator[Leaf]:
    """The floating arrays that `only` means (see `paths.matches`); by default those of the model graph, or all.

    Raises:
        UsageError: `only` means none.
    """
    found = [leaf for leaf in leaves(tree) if is_floating(leaf.dtype)]
    if only is None:
        yield from [leaf for leaf in found if matches(leaf.path, MODELS)] or found
        return
    chosen = [leaf for leaf in found if matches(leaf.path, only)]
    if not chosen:
        raise UsageError(f"no floating array is meant by {only!r}. `holdfast show BUNDLE --all` names them.")
    yield from chosen
