"""The variables in a checkpoint: values by scope and key, and facts that the values themselves do not say."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .. import dtypes, state
from ..errors import CheckpointDamagedError
from ..records import VARIABLES, Alias, Bytes, Leaf, Node, Object, Source, leaves
from ._shared.places import HANDED, root_of_text


@dataclass(slots=True)
class Facts:
    """Plain data, by `scope/key`.

    Attributes:
        rebound: what is another object than when the loop began: a resume puts a new value in its place.
        protocol: of what the state was saved.
        same: what is the same object as another variable.
        shared: by place (`_shared.places`), in a value or in what was handed over, the place of the same object, or of the array in whose
            memory it lies.
        keyed: of dicts by objects, or by ids of objects (`_shared.keyed`): which of these.
        named: of containers whose items are named tuples: the name of their class.
        factory: what is a `defaultdict` with a function of the script's own: only the live one, which is filled, has it.
        devices: where tensors were, if not in host memory.
        objects: of what is no data, and another object than when the loop began: the name that leads to it; `=scope/key` as it
            was when the loop began, `module:name`, a place in what was handed over, or `method:name:` and one of these.
        made: of objects that were made in the loop: the place of one like it, of which a resume makes a copy, and the places of what
            they have in common with others (`_made.making`); empty if what is saved of it says all.
        held: of containers of objects that are others now, or have grown: which items they have (`_made.making`).
        flags: whether tensors learn, and the modes of models (`_looks.flags`), where these have changed.
        order: of containers that were handed over and hold their objects in another order: which was where (`_shared.order`).
        unsaved: what cannot be saved and has moved, by key, in a sentence.
    """

    rebound: list[str] = field(default_factory=list)
    protocol: list[str] = field(default_factory=list)
    same: dict[str, str] = field(default_factory=dict)
    shared: dict[str, str] = field(default_factory=dict)
    keyed: dict[str, str] = field(default_factory=dict)
    named: dict[str, str] = field(default_factory=dict)
    factory: list[str] = field(default_factory=list)
    devices: dict[str, str] = field(default_factory=dict)
    objects: dict[str, str] = field(default_factory=dict)
    made: dict[str, str] = field(default_factory=dict)
    held: dict[str, str] = field(default_factory=dict)
    flags: dict[str, str] = field(default_factory=dict)
    order: dict[str, str] = field(default_factory=dict)
    unsaved: dict[str, str] = field(default_factory=dict)

    def as_data(self) -> dict[str, Any]:
        """The facts that there are."""
        return {name: found for name in self.__slots__ if (found := getattr(self, name))}

    @classmethod
    def of(cls, data: Any) -> Facts:
        """Facts as they were read from a checkpoint, which may say anything; what makes no sense is not there."""
        facts = cls()
        for name in cls.__slots__:
            found = data.get(name) if isinstance(data, Mapping) else None
            kind = type(getattr(facts, name))
            if (
                found is not None
                and isinstance(found, kind)
                and all(
                    isinstance(each, str)
                    for each in [*found, *(found.values() if isinstance(found, dict) else ())]
                )
            ):
                setattr(facts, name, found)
        return facts


class Saved:
    """What a checkpoint holds of the script's variables, in memory.

    Raises:
        DamagedError: bytes are not what was saved.
    """

    def __init__(self, source: Source, tree: Mapping[str, Node], facts: Any) -> None:
        found = tree.get(VARIABLES)
        scopes = found if isinstance(found, dict) else {}
        self.nodes: dict[str, dict[str, Node]] = {
            scope: {key: node for key, node in nodes.items() if not any(state.all_left_out({"": node}))}
            for scope, nodes in scopes.items()
            if isinstance(scope, str) and isinstance(nodes, dict)
        }
        self.facts = Facts.of(facts)
        self.forgotten: set[str] = set()
        self.made: dict[str, Any] = {}  # objects that a resume has made, by `scope/key`
        self.put: dict[str, Any] = {}  # values that it has put in the place of others
        elsewhere = _aliased(self.nodes)
        targets = [leaf for leaf in leaves(tree) if leaf.path in elsewhere] if elsewhere else []
        self.source = Kept(source, {VARIABLES: self.nodes, "aliased": targets})

    @property
    def paths(self) -> set[str]:
        """`scope/key` of all that there is."""
        shared = {root for each in self.facts.shared if not (root := root_of_text(each)).startswith(HANDED)}
        return self.changed | self.facts.flags.keys() | shared

    @property
    def changed(self) -> set[str]:
        """The same without that of which only flags have changed."""
        return {f"{scope}/{key}" for scope, nodes in self.nodes.items() for key in nodes} | {
            *self.facts.same,
            *self.facts.objects,
            *self.facts.made,
            *self.facts.held,
        }

    def forget(self, path: str) -> None:
        """What is at this `scope/key` is not to be put back."""
        scope, _, key = path.partition("/")
        self.forgotten.add(path)
        for found in (
            self.facts.same,
            self.facts.objects,
            self.facts.made,
            self.facts.held,
            self.facts.flags,
        ):
            found.pop(path, None)
        self.facts.shared = {
            target: source for target, source in self.facts.shared.items() if root_of_text(target) != path
        }
        self.nodes.get(scope, {}).pop(key, None)


def lost_in(node: Node, named: str | None) -> Object | None:
    """An object in `node` whose class only a live one would tell; `named` is that of a named tuple, or of the items of a container, which
    the script has: what these hold is looked at as well."""
    for each in state.unmakeable(node):
        is_known = bool(named) and each.adapter == "namedtuple" and each.type.rpartition(".")[2] == named
        if (lost := lost_in(each.state, None) if is_known else each) is not None:
            return lost
    return None


def _aliased(node: Node) -> set[str]:
    found: set[str] = set()
    waiting = [node]
    while waiting:
        match waiting.pop():
            case Alias(path):
                found.add(path)
            case Object() as taken:
                waiting.append(taken.state)
            case dict() as entries:
                waiting += entries.values()
            case list() | tuple() as items:
                waiting += items
    return found - {leaf.path for leaf in _leaves(node)}


def _leaves(node: Node) -> list[Leaf]:
    return list(leaves(node))


class Kept:
    """A part of `source` in memory, which stays when that is closed: a `records.Source`. Bytes are checked as they are read.

    Raises:
        DamagedError: bytes are not what was saved.
    """

    def __init__(self, source: Source, tree: Node) -> None:
        self.tree: Node = tree
        self._bytes: dict[str, Bytes] = {}
        for leaf in leaves(tree):
            self._bytes[leaf.path] = np.empty(leaf.size_bytes, np.uint8)
        source.read_all([(leaf, self._bytes[leaf.path]) for leaf in leaves(tree) if leaf.size_bytes])

    def read_into(self, leaf: Leaf, out: Bytes) -> None:
        out[:] = self._of(leaf)

    def read_all(self, wanted: Sequence[tuple[Leaf, Bytes]]) -> None:
        for leaf, out in wanted:
            self.read_into(leaf, out)

    def parts(self, leaf: Leaf) -> Iterator[tuple[int, Bytes]]:
        data, step = (
            self._of(leaf),
            max(1, (4 << 20) // dtypes.item_size(leaf.dtype)) * dtypes.item_size(leaf.dtype),
        )
        for start in range(0, leaf.size_bytes, step):
            yield start, data[start : start + step].copy()

    def check(self, leaves: Sequence[Leaf]) -> None:
        for leaf in leaves:
            self._of(leaf)

    def _of(self, leaf: Leaf) -> Bytes:
        data = self._bytes.get(leaf.path)
        if data is None or data.nbytes != leaf.size_bytes:
            raise CheckpointDamagedError(
                "the variables of the script", f"there is no {leaf.path!r} of this size"
            )
        return data
