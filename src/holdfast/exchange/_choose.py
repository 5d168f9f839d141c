"""Which arrays of a state are exported, and under which names."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from ..errors import UsageError
from ..paths import matches, plain_name
from ..records import MODELS, Alias, Leaf, Node, leaves
from ..state import entries, in_optimizers

Names = Literal["dots", "slashes"]


@dataclass(frozen=True, slots=True)
class Chosen:
    """Arrays by name. `tied`: further names of arrays that are in `arrays`. `left_out`: how many values are not exported."""

    arrays: Mapping[str, Leaf]
    tied: Mapping[str, str]
    left_out: int

    def check(self, who: str, knows: Callable[[Leaf], bool]) -> None:
        """UsageError if there is an array of an element type that the readers of a format do not know."""
        for name, leaf in self.arrays.items():
            if not knows(leaf):
                raise UsageError(
                    f"{name!r} is {leaf.dtype}, which {who} does not know: leave it out with only=."
                )


def choose(tree: Node, *, prefix: str, only: str | None, names: Names) -> Chosen:
    """The arrays below `prefix` that match `only`, under names relative to `prefix`.

    If neither is given: the models of a model graph without their optimizers, or every array of another state.

    Raises:
        UsageError: there are none, or two would have the same name.
    """
    prefix = prefix.strip("/")
    skipped: frozenset[str] = frozenset()
    if not prefix and only is None and isinstance(tree, dict) and MODELS in tree:
        prefix, skipped = MODELS, in_optimizers(tree)
    arrays: dict[str, Leaf] = {}
    tied: dict[str, str] = {}
    first_names: dict[str, str] = {}
    left_out = 0
    for path, leaf in _arrays(tree):
        if (prefix and path != prefix and not path.startswith(f"{prefix}/")) or (
            only and not matches(path, only)
        ):
            continue
        if leaf is None or leaf.path in skipped:
            left_out += 1
            continue
        name = _name(path, prefix, names)
        if name in arrays or name in tied:
            raise UsageError(
                f"two arrays would be named {name!r}, one of them {path!r}: pass names='slashes'."
            )
        if leaf.path in first_names:
            tied[name] = first_names[leaf.path]
        else:
            first_names[leaf.path] = name
            arrays[name] = leaf
    if not arrays:
        meant = filter(None, [prefix and f"below {prefix!r}", only and f"matching {only!r}"])
        raise UsageError(
            f"there is no array {' '.join(meant) or 'in it'}. `holdfast show BUNDLE --all` lists the arrays."
        )
    return Chosen(arrays, tied, left_out)


def _arrays(tree: Node) -> Iterator[tuple[str, Leaf | None]]:
    """Every path of an array, aliases included; None for a plain value."""
    known = {leaf.path: leaf for leaf in leaves(tree)}
    for path, node in entries(tree):
        match node:
            case Leaf():
                yield path, node
            case Alias() if node.path in known:
                yield path, known[node.path]
            case Alias():  # of an object: all that is in it once more
                below = f"{node.path}/"
                yield from (
                    (path + place[len(node.path) :], leaf)
                    for place, leaf in known.items()
                    if place.startswith(below)
                )
            case None | bool() | int() | float() | complex() | str() | bytes():
                yield path, None


def _name(path: str, prefix: str, names: Names) -> str:
    below = path[len(prefix) :].lstrip("/") if path != prefix else path.rpartition("/")[2]
    return below if names == "slashes" else ".".join(plain_name(below))
