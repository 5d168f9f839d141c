"""From live objects to a state tree: decides what will be saved, and copies nothing yet."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from operator import attrgetter
from typing import Any, Literal, NoReturn

import msgspec

from .. import dtypes, paths
from ..errors import UnsupportedStateError
from ..records import Alias, Box, Leaf, Node
from ._block.region import Region, regions_of
from ._exclude import is_excluded, left_out
from ._kinds import type_name
from ._live import Gate, Live
from ._names import Later
from ._plan import Found, Part, Plan, Proof
from ._registry import Claimant, adapter_of, introduce
from ._tree import in_order, moved_forward

_SCALARS = frozenset({type(None), bool, int, float, str})  # saved as they are, without asking an adapter
_MAX_DEPTH = 100  # a tree file may nest 256 deep, and a level of data takes up to two there


class Walk:
    """One walk over live objects; what matches a pattern of `exclude` is left out.

    `with_gates`: whether to find the gates of arrays, too. `with_boxes`: whether all processes save together, so that
    each may have a box of an array, and values of its own.
    `arrays` has the live array of each leaf, and keeps it alive; `tied` has the repeated ones.

    Adapters use `node` for the parts of an object, `array` for memory, `names` to name parameters and
    `later` for what needs the names of objects that may come later in the walk.
    """

    def __init__(
        self,
        exclude: Sequence[str] = (),
        *,
        with_gates: bool = False,
        with_boxes: bool = False,
        plan: Plan | None = None,
    ) -> None:
        self.with_gates, self.with_boxes = with_gates, with_boxes
        self._plan = None if exclude or with_gates else plan
        self._found = Found()
        self._parts: list[tuple[int, Part]] = []  # each with the number of arrays that were there after it
        self.arrays, self.tied, self.names = self._found.arrays, self._found.tied, self._found.names
        self.gates: dict[int, Gate | None] = {}  # by the id of an array's owner; None: it has several
        self._owners: list[Any] = []  # kept alive, so that ids stay their own
        self._exclude = exclude
        self._others: Claimant | None = None
        self.later = Later()
        self._open: set[int] = set()

    def run(self, value: Any, path: str) -> Node:
        """The state tree of `value`."""
        tree = self.node(value, path)
        self.later.run()
        if self._plan is not None:
            self._plan.keep(part for _, part in self._parts)
        if not self.tied or not (moved := moved_forward(tree, path)):
            return tree
        leaves = {
            leaf.path: msgspec.structs.replace(leaf, path=moved[leaf.path])
            for leaf, _ in self.arrays
            if leaf.path in moved
        }
        self._parts = []
        self.arrays = self._found.arrays = [(leaves.get(leaf.path, leaf), live) for leaf, live in self.arrays]
        return in_order(tree, leaves, path)

    def node(self, value: Any, path: str) -> Node:
        """The state of `value`, which is at `path`.

        Raises:
            UnsupportedStateError: it, or something in it, cannot be saved.
        """
        kind = type(value)
        if self._exclude and is_excluded(path, self._exclude):
            introduce(value, self.names, path)
            return left_out(type_name(kind))
        if kind in _SCALARS:
            return value
        adapter = adapter_of(kind) or self._others
        if adapter is None:
            self.refuse(path, type_name(kind))
        if getattr(adapter, "is_leaf", False):
            return adapter.capture(value, self, path)
        self._enter(value, path)
        try:
            return adapter.capture(value, self, path)
        finally:
            self._open.discard(id(value))

    def entries(self, value: dict[Any, Any], path: str) -> dict[Any, Node]:
        """The state of what a dict with plain keys holds, which is at `path`."""
        if self._exclude:
            return {key: self.node(entry, self.child(path, key)) for key, entry in value.items()}
        return {
            key: entry if type(entry) in _SCALARS else self.node(entry, self.child(path, key))
            for key, entry in value.items()
        }

    def items(self, value: Iterable[Any], path: str) -> list[Node]:
        """As `entries`, of what a list or tuple holds."""
        if self._exclude:
            return [self.node(entry, paths.item(path, index)) for index, entry in enumerate(value)]
        return [
            entry if type(entry) in _SCALARS else self.node(entry, paths.item(path, index))
            for index, entry in enumerate(value)
        ]

    def regions(self) -> list[Region]:
        """The arrays as they are to lie in a snapshot, in this order: those of each part that was kept, and all others."""
        others: list[tuple[Leaf, Live]] = []
        begin = 0
        for end, part in self._parts:
            others += self.arrays[begin : end - len(part.found.arrays)]
            begin = end
        kept = [region for _, part in self._parts for region in part.regions]
        return sorted([*kept, *regions_of([*others, *self.arrays[begin:]])], key=attrgetter("rank"))

    def part(
        self,
        value: Any,
        path: str,
        make: Callable[[], Node],
        proof: Callable[[], Proof | None],
        *,
        given: Any = None,
    ) -> Node:
        """What `make` gives for a part of `value` at `path`; what it gave in the walk before, if that is proved to be the same.

        `proof` is called for what later proves that; it gives None if nothing can. `given` is compared: what the node
        depends on besides `value`. Both are kept alive.
        """
        if self._plan is None:
            return make()
        kept = self._plan.parts.get(path)
        is_same = kept is not None and kept.value is value and kept.given == given and kept.proof()
        if kept is None or not is_same or not self._found.add(kept.found):
            mark = self._found.mark()
            node = make()
            found, proved = self._found.since(mark), proof()
            if found is None or proved is None:
                return node
            kept = Part(path, value, given, proved, node, found, regions_of(found.arrays))
        self._parts.append((len(self.arrays), kept))
        return kept.node

    @contextmanager
    def apart(self) -> Iterator[None]:
        """Inside, no array is taken for one that was met outside, nor later outside for one that was met inside."""
        before, self._found.memory = self._found.memory, {}
        try:
            yield
        finally:
            self._found.memory = before

    @contextmanager
    def taking_others_by(self, adapter: Claimant) -> Iterator[Claimant | None]:
        """Inside, what no adapter knows is taken apart by this one; gives the one that did it before."""
        before, self._others = self._others, adapter
        try:
            yield before
        finally:
            self._others = before

    def child(self, path: str, key: Hashable) -> str:
        """The path of what the value at `path` holds under `key`; refuses a key that is not plain."""
        try:
            return paths.child(path, key)
        except (TypeError, ValueError):
            self.refuse(
                path, f"{type(key).__name__} as a key", "Use str, int, float, bool, None, bytes or tuples."
            )

    def array(
        self,
        path: str,
        *,
        dtype: str,
        shape: tuple[int, ...],
        live: Live,
        kind: str,
        order: Literal["C", "F"] = "C",
        axes: tuple[int, ...] = (),
        identity: Hashable = None,
    ) -> Leaf | Alias:
        """A leaf for the array `live`. Equal `identity` means: the very same memory."""
        leaf = Leaf(path, dtype, shape, order, kind, axes=axes)
        is_somewhere = identity is not None and leaf.size_bytes
        return self._add(leaf, live, (kind, dtype, shape, identity) if is_somewhere else None)

    def box(
        self,
        path: str,
        *,
        dtype: str,
        shape: tuple[int, ...],
        of: tuple[int, ...],
        offset: tuple[int, ...],
        live: Live,
        kind: str,
        identity: Hashable,
    ) -> Leaf | Alias:
        """As `array`, for the part `live` of an array of the shape `of`. A part without items has an identity, too."""
        box = Box(path, dtype, shape, kind=kind, of=of, offset=offset)
        return self._add(box, live, (kind, dtype, of, offset, shape, identity))

    def _add(self, leaf: Leaf, live: Live, memory: Hashable) -> Leaf | Alias:
        """Take an array, unless another one has the same memory already; None: that cannot be."""
        found, path = self._found, leaf.path
        if memory is not None:
            first = found.memory.setdefault(memory, path)
            if first != path:
                found.tied.append(live)
                found.repeated.append(first)
                return Alias(first)
        if path in found.taken:
            self.refuse(path, "second entry of the same name")
        found.taken.add(path)
        self.arrays.append((leaf, live))
        return leaf

    def gate(self, owner: Any, gate: Gate) -> None:
        """Record that only the owner of this gate writes the array `owner`."""
        self._owners.append(owner)
        self.gates[id(owner)] = gate if self.gates.get(id(owner), gate) is gate else None

    def no_gate(self, owner: Any) -> None:
        """Record that others than the owner of a gate may write the array `owner`, too."""
        self._owners.append(owner)
        self.gates[id(owner)] = None

    def dtype_name(self, dtype: Any, path: str) -> str:
        """The name of a NumPy element type; refuses one that has none."""
        try:
            return dtypes.name_of(dtype)
        except ValueError as err:
            self.refuse(path, f"array of dtype {dtype}", f"{str(err).capitalize()}.")

    def refuse(self, path: str, kind: str, hint: str = "") -> NoReturn:
        """Raise an error: what is at `path` cannot be saved."""
        raise UnsupportedStateError(path, kind, hint)

    def _enter(self, value: Any, path: str) -> None:
        if id(value) in self._open:
            self.refuse(path, f"{type(value).__name__} that contains itself", "Break the cycle.")
        if len(self._open) >= _MAX_DEPTH:
            self.refuse(path, f"value nested deeper than {_MAX_DEPTH} levels", "Flatten it.")
        self._open.add(id(value))
