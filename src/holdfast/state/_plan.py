"""What one walk leaves for the next: a part of a state that is proved to have the same structure is not walked again.

An adapter that keeps a part answers before each use: are these the same objects, of the same names, over the same
memory? Any doubt is a No, and the part is walked as if for the first time.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, TypeAlias, cast

from ..records import Leaf, Node
from ._block.region import Region
from ._live import Live
from ._names import Names

Proof: TypeAlias = Callable[[], bool]
"""Whether a walk would make the same of a part as before, but for the bytes of its arrays."""


@dataclass(frozen=True, slots=True)
class Part:
    """One part as it was captured.

    Attributes:
        path: where it stands.
        value: whose part it is, kept alive; `given`: what else its node depends on.
        proof: whether it is the same.
        node: what was made of it.
        found: what the walk found in it.
        regions: its arrays, as they lie side by side in a snapshot.
    """

    path: str
    value: Any
    given: Any
    proof: Proof
    node: Node
    found: Found
    regions: Sequence[Region]


@dataclass(slots=True)
class Found:
    """What a walk, or a part of it, has met.

    Attributes:
        arrays: the live array of each leaf.
        tied: arrays over memory that was met before.
        repeated: the paths of the leaves whose memory they are over.
        memory: the path of each leaf's memory, by what is equal for the very same.
        names: the live objects that others may refer to.
    """

    arrays: list[tuple[Leaf, Live]] = field(default_factory=list)
    tied: list[Live] = field(default_factory=list)
    repeated: list[str] = field(default_factory=list)
    memory: dict[Hashable, str] = field(default_factory=dict)
    taken: set[str] = field(default_factory=set)
    names: Names = field(default_factory=Names)

    def add(self, part: Found) -> bool:
        """Add what a part had before; False, and nothing is added, if something of it was met elsewhere in this walk."""
        if not (
            part.taken.isdisjoint(self.taken)
            and part.memory.keys().isdisjoint(self.memory)
            and part.names.by_id.keys().isdisjoint(self.names.by_id)
        ):
            return False
        self.arrays += part.arrays
        self.tied += part.tied
        self.repeated += part.repeated
        self.memory |= part.memory
        self.taken |= part.taken
        self.names.by_id |= part.names.by_id
        self.names.repeated += part.names.repeated
        return True

    def mark(self) -> Sequence[int]:
        """Where it stands, for `since`."""
        return [len(each) for each in self._all()]

    def since(self, mark: Sequence[int]) -> Found | None:
        """What was met since; None if some of it had been met before, so that it is not a part by itself."""
        arrays, tied, repeated, memory, by_id, again = cast(
            "Sequence[Any]",
            [
                [*islice(each.items() if isinstance(each, Mapping) else each, start, None)]
                for each, start in zip(self._all(), mark, strict=True)
            ],
        )
        names = Names()
        names.by_id |= by_id
        names.repeated += again
        taken = {leaf.path for leaf, _ in arrays}
        is_alone = taken.issuperset(repeated) and {name for _, (_, name) in by_id}.issuperset(again)
        return Found(arrays, tied, repeated, dict(memory), taken, names) if is_alone else None

    def _all(self) -> Sequence[Any]:
        names = self.names
        return self.arrays, self.tied, self.repeated, self.memory, names.by_id, names.repeated


@dataclass(slots=True)
class Plan:
    """For the snapshots of one run, which are taken by one thread at a time.

    Attributes:
        parts: what was kept, by the path of the part.
    """

    parts: Mapping[str, Part] = field(default_factory=dict)

    def keep(self, parts: Iterable[Part]) -> None:
        """Keep these for the next walk, and no others."""
        self.parts = {each.path: each for each in parts}
