"""From a state tree into live objects, in two steps: a plan that changes nothing, then carrying it out."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Container, Hashable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol, TypeAlias

import numpy as np

from .. import dtypes
from .._wording import a
from ..errors import CheckpointUnreadableError, DamagedError, PieceDamagedError, RestoreIncompleteError
from ..records import Alias, Bytes, Leaf, Node, Object, Source, leaves_and_aliases
from ._exclude import is_excluded, is_left_out
from ._kinds import is_called, is_same, type_name
from ._names import Later, Names
from ._rebuild import Rebuilder
from ._registry import Claimant, adapter_of, can_make, introduce
from ._tree import contents

Make: TypeAlias = Callable[[], Any]
"""A planned action: fills the live object, or makes a new value, and returns what is there now."""


REGISTRABLE = ("namedtuple", "dataclass", "enum")
"""Adapters of values that can be made again once their class is registered."""


class Others(Claimant, Protocol):
    """An adapter of what no other knows."""

    def renews(self, live: Any, node: Node) -> bool:
        """Whether a new value takes the place of this live one, if one can be made."""
        ...


class Together(Protocol):
    """Arrays that are alike, and are compared with their leaves many at a time."""

    @property
    def written(self) -> Callable[[Sequence[Any]], None] | None: ...

    def place(self, arrays: Sequence[Planned], fit: Fit) -> None:
        """Tell `fit.place` of each where it is, or `fit.problem` why it cannot be filled."""
        ...


class Planned:
    """A live array that is to be filled: where its bytes are (`memory`), else by `fill`; with neither it stays as it is.

    `is_entry`: of a container, so that it can be made anew where something else has its live memory.
    """

    __slots__ = ("_fit", "fill", "is_entry", "live", "memory", "node", "path", "written")

    def __init__(
        self,
        fit: Fit,
        live: Any,
        node: Node,
        path: str,
        written: Callable[[Sequence[Any]], None] | None,
        *,
        is_entry: bool,
    ) -> None:
        self._fit, self.is_entry = fit, is_entry
        self.live, self.node, self.path, self.written = live, node, path, written
        self.memory: Bytes | None = None
        self.fill: Callable[[Leaf], None] | None = None

    def __call__(self) -> Any:
        if self.is_entry and self._fit.is_made_anew(self.node):
            return self._fit.value_of(self.node)
        if self.memory is None:
            if self.fill is not None:
                self.fill(self.node)
        elif not self._fit.has_read_ahead:
            self._fit.read(self.node, self.memory)
            if self.written is not None:
                self.written([self.live])
        return self.live


class Fit:
    """One restore. Adapters use it to compare while planning; the `Make`s they return act.

    `needed` are the leaves that will be read, `problems` one sentence for each thing that does
    not fit. What the checkpoint left out is a problem, too, unless one of the patterns `keep` matches its path:
    then it stays as it is, and `kept` has the path. `put_later` has the paths, as `path_of_place` writes them, of arrays which the
    caller puts there himself. Of a partial restore `is_meant` says which paths it is about: others
    are no problem, and kept. While `typed`, plain values must keep their type, and while `exact` dicts their keys: some
    loader will take them unseen.
    """

    def __init__(
        self,
        source: Source,
        keep: Sequence[str] = (),
        is_meant: Callable[[str], bool] | None = None,
        put_later: Container[str] = (),
    ) -> None:
        self.names = Names()
        self.later = Later()
        self.typed = self.exact = False
        self.problems: list[str] = []
        self.kept: list[str] = []
        self._keep, self._is_meant, self._put_later = keep, is_meant, put_later
        self._others: Others | None = None
        self._needed: dict[str, Leaf] = {}
        self._source = source
        self._rebuilder = Rebuilder(source.tree, self.read)
        self._planner = Rebuilder(source.tree, source.read_into)
        self._targets: dict[Hashable, Planned] = {}
        self._entry: Leaf | None = None  # of a container, which can be made anew; while it is planned
        self._anew: set[str] = set()  # the paths of those that will be: something else has their live memory
        self._containers: dict[int, tuple[Any, Node]] = {}
        self._arrays: dict[str, Any] = {}  # by the path of what will be in it: the live one
        self._together: dict[Together, list[Planned]] = {}
        self._direct: list[Planned] = []  # that are filled where they are
        self.has_read_ahead = False

    @property
    def needed(self) -> Sequence[Leaf]:
        return tuple(self._needed.values())

    # Planning

    def into(self, live: Any, node: Node, path: str) -> Make:
        """Plan to put `node` into `live`, which is at `path`."""
        if is_left_out(node):
            return self.left_out(live, path)
        if self._put_later and path_of_place(path) in self._put_later and hasattr(live, "dtype"):
            introduce(live, self.names, path)
            return self.keep(live)
        is_renewed = self._others is not None and self._others.renews(live, self.resolve(node))
        if is_renewed and next(unmakeable(node), None) is None:
            return self.fresh(node)
        adapter = adapter_of(type(live)) or self._others
        if adapter is None:
            return self.misfit(
                live, path, f"the live object is {a(type_name(type(live)))}, for which there is no adapter"
            )
        return adapter.plan(live, self.resolve(node), self, path)

    def entry(self, container: Any, key: Any, live: Any, node: Node, path: str) -> Make:
        """As `item`, for an entry of a container. If that is to be filled with something else already, at another path
        (`target = params`), it is made anew, and so is this entry: the live array gets what it has there. So is an array
        that lies in memory otherwise than the saved one did."""
        leaf = self.resolve(node)
        if not isinstance(leaf, Leaf):
            return self.item(live, node, path)
        adapter: Any = adapter_of(type(live))
        makes_anew = getattr(adapter, "makes_anew", None)
        if makes_anew is None or not makes_anew(live) or live.shape != leaf.shape:
            return self.item(live, node, path)
        met = self._containers.get(id(container))
        is_other = met is not None and self._is_other(met[1], key, leaf)
        if not self._rebuilder.is_tied(leaf) and (is_other or not adapter.lies_as(live, leaf)):
            return self.fresh(node)
        self._entry = leaf
        try:
            return self.item(live, node, path)
        finally:
            self._entry = None

    def _is_other(self, there: Node, key: Any, node: Leaf) -> bool:
        known = dict(enumerate(there)) if isinstance(there, list) else there
        return isinstance(known, dict) and key in known and self.resolve(known[key]) != node

    def item(self, live: Any, node: Node, path: str) -> Make:
        """As `into`, for what is then put into the container that `live` is in: tied arrays become one object there, too."""
        make = self.into(live, node, path)
        first = self._arrays.get(node.path) if isinstance(node, Alias) else None
        if first is None or type(first) is not type(live):
            return make

        def act() -> Any:
            make()
            return self._rebuilder.value(node) if node.path in self._anew else first

        return act

    def fresh(self, node: Node) -> Make:
        """Plan to make a new value from `node`."""
        for each in leaves_and_aliases(node):
            self.need(self.resolve(each))
        return lambda: self._rebuilder.value(node)

    def value(self, node: Node) -> Any:
        """The value of `node`, read while planning: for what must equal a live value."""
        return self._planner.value(node)

    def replace(self, live: Any, node: Node, path: str) -> Make:
        """Plan to put a new value in the place of `live`, which is plain data."""
        if is_left_out(node):
            return self.left_out(live, path)
        lost = next(unmakeable(node), None)
        if lost is not None:
            return self.misfit(
                *(live, path),
                f"{a(lost.type)} was saved, and it can only be restored into a live one{other_way(lost)}",
            )
        if self.typed and not _alike(live, node):
            return self.misfit(live, path, f"{said(node)} was saved, the live value is {said(live)}")
        return self.fresh(node)

    def array(
        self,
        live: Any,
        node: Node,
        path: str,
        *,
        dtype: str,
        shape: tuple[int, ...],
        identity: Hashable,
        fill: Callable[[Leaf], None],
        memory: Callable[[Leaf], Bytes | None] = lambda leaf: None,
        written: Callable[[Sequence[Any]], None] | None = None,
    ) -> Make:
        """Plan to `fill` live memory of this dtype and shape. Equal `identity`: the very same memory.

        `memory` gives the live bytes themselves where the leaf's can be read straight into them: those of all arrays are read
        at once, before the first act, and in place of `fill` is `written` called, once with all of them that have the same.
        """
        array = self._met(live, node, path, written)
        where = memory(node) if isinstance(node, Leaf) and node.size_bytes else None
        self.place(array, dtype, shape, identity, where, fill)
        return array

    def together(self, kind: Together, live: Any, node: Node, path: str) -> Make:
        """As `array`, for one of many: `kind` calls `place` for each of them, once all are known."""
        array = self._met(live, node, path, kind.written)
        if (those := self._together.get(kind)) is None:
            those = self._together[kind] = []
        those.append(array)
        return array

    def _met(
        self, live: Any, node: Node, path: str, written: Callable[[Sequence[Any]], None] | None
    ) -> Planned:
        if isinstance(node, Leaf):
            self._arrays.setdefault(node.path, live)
        return Planned(self, live, node, path, written, is_entry=self._entry is node)

    def finish(self) -> None:
        """Everything has been met: plan what was put off."""
        self.later.run()
        for kind, arrays in self._together.items():
            kind.place(arrays, self)

    def place(
        self,
        array: Planned,
        dtype: str,
        shape: tuple[int, ...],
        identity: Hashable,
        memory: Bytes | None,
        fill: Callable[[Leaf], None] | None,
    ) -> None:
        """Compare a live array with its leaf, and let it be filled if it fits: where its bytes are, or by `fill`."""
        node, path = array.node, array.path
        if not isinstance(node, Leaf):
            self.problem(path, f"{said(node)} was saved, the live value is {said(array.live)}")
            return
        if dtype != node.dtype or shape != node.shape:
            self.problem(path, f"{said(node)} was saved, the live array is {dtype} {list(shape)}")
            return
        target = identity, dtype, shape
        first = self._targets.get(target) if node.size_bytes else None
        if first is not None and first.path != node.path and array.is_entry:
            self._make_anew(array)
            return
        if first is not None and first.path != node.path and first.is_entry:
            self._make_anew(first)
        elif first is not None:
            if first.path != node.path and not self._equal_bytes(first.node, node):
                self.problem(path, f"the live array is tied to {first.path!r}, but their saved values differ")
            return
        self._targets[target] = array
        self._needed[node.path] = node
        if memory is None:
            array.fill = fill
        else:
            array.memory = memory
            self._direct.append(array)

    def _make_anew(self, array: Planned) -> None:
        """Something else is filled where this array lies."""
        self._anew.add(array.node.path)
        self._needed[array.node.path] = array.node
        if array.memory is not None:
            array.memory = None
            self._direct.remove(array)

    def is_made_anew(self, leaf: Leaf) -> bool:
        """Whether a new array takes the place of the live one, which something else is filled into."""
        return leaf.path in self._anew

    def value_of(self, node: Node) -> Any:
        """The value of `node`, as it is made anew: one and the same each time."""
        return self._rebuilder.value(node)

    def is_taken(self, live: Any, node: Node) -> bool:
        """Whether this live container is to be filled with something else already, at another path."""
        _, first = self._containers.setdefault(id(live), (live, node))
        return not self._is_same(first, node)

    def object_of(
        self,
        adapter: str,
        live: Any,
        node: Node,
        path: str,
        *,
        same_class: bool = False,
        holds: type = object,
    ) -> Object | None:
        """`node` if `adapter` took it apart into a `holds`, else None after recording the problem."""
        live_type = type_name(type(live))
        if not isinstance(node, Object) or node.adapter != adapter:
            self.problem(path, f"{said(node)} was saved, the live object is {a(live_type)}")
        elif same_class and not is_called(node.type, type(live)):
            self.problem(path, f"{a(node.type)} was saved, the live object is {a(live_type)}")
        elif not isinstance(node.state, holds):
            self.problem(
                path, f"the saved state of this {node.type} is {said(node.state)}, which is not valid"
            )
        else:
            return node
        return None

    def _is_same(self, one: Node, other: Node) -> bool:
        one, other = self.resolve(one), self.resolve(other)
        if one is other:
            return True
        match one, other:
            case dict(), dict():
                return one.keys() == other.keys() and all(self._is_same(one[key], other[key]) for key in one)
            case (list(), list()) | (tuple(), tuple()):
                return len(one) == len(other) and all(map(self._is_same, one, other))
            case Leaf(), Leaf():
                return one.path == other.path
            case Object(), Object():
                return one.adapter == other.adapter and self._is_same(one.state, other.state)
            case _:
                return is_same(one, other)

    def need(self, leaf: Leaf) -> None:
        """Record that this leaf will be read."""
        self._needed[leaf.path] = leaf

    def resolve(self, node: Node) -> Node:
        """`node`, or the leaf that it is an alias of."""
        return self._rebuilder.resolve(node) if type(node) is Alias else node

    def problem(self, path: str, what: str) -> None:
        """Record that what is at `path` does not fit: `what` ends the sentence."""
        if self._is_meant is not None and not self._is_meant(path):
            self.kept.append(path)
            return
        self.problems.append(f"{path or 'the state'}: {what}")

    def misfit(self, live: Any, path: str, what: str) -> Make:
        """`problem` and `keep` in one."""
        self.problem(path, what)
        return self.keep(live)

    def left_out(self, live: Any, path: str) -> Make:
        """Plan for what the checkpoint leaves out: `live` stays, and that is a problem unless it is in `keep`."""
        introduce(live, self.names, path)
        if is_excluded(path, self._keep):
            self.kept.append(path)
            return self.keep(live)
        return self.misfit(
            live, path, "the checkpoint leaves it out (exclude=), so there is nothing to restore"
        )

    def keep(self, live: Any) -> Make:
        """Plan to leave `live` as it is."""
        return lambda: live

    def put_off(self, plan: Callable[[], Make]) -> Make:
        """Plan when every other object has been planned and its parameters have names."""
        planned: list[Make] = []
        self.later.add(lambda: planned.append(plan()))
        return lambda: planned[0]()

    @contextmanager
    def keeping_types(self, *, exact: bool = False) -> Iterator[None]:
        """While planning here, plain values keep their types; if `exact`, dicts their keys at any depth."""
        before = self.typed, self.exact
        self.typed, self.exact = True, exact
        try:
            yield
        finally:
            self.typed, self.exact = before

    @contextmanager
    def taking_others_by(self, adapter: Others) -> Iterator[Others | None]:
        """While planning here, live objects that no adapter knows are left to this one, and it says which are replaced.

        Gives the one that did it before.
        """
        before, self._others = self._others, adapter
        try:
            yield before
        finally:
            self._others = before

    # Acting

    def read_ahead(self) -> None:
        """Read at once what goes straight into live memory. Not if anything is to be kept.

        Raises:
            RestoreIncompleteError: as `read`.
        """
        written: dict[Callable[[Sequence[Any]], None], list[Any]] = {}
        wanted: list[tuple[Leaf, Bytes]] = []
        for array in self._direct:
            assert array.memory is not None
            wanted.append((array.node, array.memory))
            if array.written is not None:
                written.setdefault(array.written, []).append(array.live)
        try:
            self._source.read_all(wanted)
        except PieceDamagedError as err:
            raise RestoreIncompleteError(err.leaf, str(err)) from err
        except CheckpointUnreadableError as err:
            raise RestoreIncompleteError("the state", str(err)) from err
        self.has_read_ahead = True
        for tell, those in written.items():
            tell(those)

    def read(self, leaf: Leaf, out: Bytes) -> None:
        """Fill `out` with the leaf's bytes.

        Raises:
            RestoreIncompleteError: they are damaged or cannot be read; earlier leaves are already filled.
        """
        try:
            self._source.read_into(leaf, out)
        except (DamagedError, CheckpointUnreadableError) as err:
            raise RestoreIncompleteError(leaf.path, str(err)) from err

    def parts(self, leaf: Leaf) -> Iterator[tuple[int, Bytes]]:
        """As `Source.parts`: for live memory that `read` cannot fill, so that no second array is needed.

        Raises:
            RestoreIncompleteError: as `read`.
        """
        try:
            yield from self._source.parts(leaf)
        except (DamagedError, CheckpointUnreadableError) as err:
            raise RestoreIncompleteError(leaf.path, str(err)) from err

    def _equal_bytes(self, one: Leaf, other: Leaf) -> bool:
        if one.order != other.order or one.size_bytes != other.size_bytes:
            return False
        both = np.empty((2, one.size_bytes), np.uint8)
        for leaf, out in zip((one, other), both, strict=True):
            self._source.read_into(leaf, out)
        return np.array_equal(both[0], both[1])


def path_of_place(path: str) -> str:
    """A path in which items of lists and numbers as keys are written alike."""
    return path.replace("%i:", "")


def said(value: Any) -> str:
    """A saved node or a live value as words in a message."""
    match value:
        case Leaf(kind="bytes"):
            return f"bytes of length {value.size_bytes}"
        case Leaf():
            return f"an array {value.dtype} {list(value.shape)}"
        case Object():
            return a(value.type)
        case None:
            return "None"
        case _:
            return a(type(value).__name__)


def other_way(lost: Object) -> str:
    """What can be done where there is no live one, as the end of a sentence."""
    name = lost.type.rpartition(".")[2]
    return f" (or after holdfast.register_type({name}))" if lost.adapter in REGISTRABLE else ""


def unmakeable(node: Node) -> Iterator[Object]:
    """The objects in `node` whose class is known only from a live one."""
    match node:
        case Object():
            if can_make(node):
                yield from unmakeable(node.state)
            else:
                yield node
        case dict():
            for entry in node.values():
                yield from unmakeable(entry)
        case list() | tuple():
            for entry in node:
                yield from unmakeable(entry)


def _alike(live: Any, node: Node) -> bool:
    """Whether a loader that expects a value such as `live` can take `node`: None may come and go."""
    node = contents(node)
    if live is None or node is None:
        return True
    if isinstance(node, Object):
        return is_called(node.type, type(live))
    if isinstance(node, Leaf):
        if isinstance(live, np.generic):
            return node.kind == "scalar" and dtypes.name_of(live.dtype) == node.dtype
        return node.kind == "bytes" and isinstance(live, bytes)
    if isinstance(node, dict | list):
        return isinstance(live, type(node) if isinstance(node, dict) else list | deque)
    numbers = (int, float)
    return type(live) is type(node) or (type(live) in numbers and type(node) in numbers)
