"""NumPy: arrays of every dtype that has bytes of its own, scalars, random generators."""

from __future__ import annotations

import math
from typing import Any, Literal

import numpy as np

from ... import dtypes
from ...records import Bytes, Leaf, Node, Object
from .._axes import axes_in_memory
from .._fit import Fit, Make
from .._live import LiveArray
from .._rebuild import array_bytes, new_array
from .._runs import put_run
from .._walk import Walk

_STRINGS = np.dtypes.StringDType() if hasattr(np.dtypes, "StringDType") else None  # new in NumPy 2
_OF_OBJECTS = "OT"  # the kinds of element types whose items are Python objects
_VIEWS = {kind.__name__: kind for kind in (np.recarray, np.matrix)}
_LARGE_ITEM_BYTES = 4 << 20  # of a structured type; a part need not hold a complete one


class _Array:
    name = "numpy.ndarray"

    def claims(self, kind: type) -> bool:
        return kind in (np.ndarray, np.memmap)

    def makes_anew(self, live: np.ndarray) -> bool:
        """Whether a new array can stand in its place: of what lies in a file, it could not."""
        return type(live) is np.ndarray

    def lies_as(self, live: np.ndarray, leaf: Leaf) -> bool:
        """Whether its items are in memory in the order that the saved ones were in."""
        return (memory_order(live), _axes(live)) == (leaf.order, leaf.axes)

    def capture(self, value: np.ndarray, walk: Walk, path: str) -> Node:
        if value.dtype.kind in _OF_OBJECTS:
            return OBJECTS.capture(value, walk, path)
        order = memory_order(value)
        return walk.array(
            path,
            dtype=walk.dtype_name(value.dtype, path),
            shape=value.shape,
            order=order,
            axes=_axes(value),
            kind="numpy",
            live=LiveArray(value, order),
            identity=_identity(value),
        )

    def plan(self, live: np.ndarray, node: Node, fit: Fit, path: str) -> Make:
        if live.dtype.kind in _OF_OBJECTS:
            return OBJECTS.plan(live, node, fit, path)
        if not live.flags.writeable:
            return fit.misfit(live, path, "the live array is read-only")

        def memory(leaf: Leaf) -> Bytes | None:
            is_alike = live.flags.c_contiguous if leaf.order == "C" else live.flags.f_contiguous
            return array_bytes(live, leaf.order) if is_alike else None

        def fill(leaf: Leaf) -> None:
            live_bytes = memory(leaf)
            if live_bytes is not None:
                if live.nbytes:
                    fit.read(leaf, live_bytes)
            elif live.itemsize > _LARGE_ITEM_BYTES:
                live[...] = new_array(leaf, fit.read)
            else:
                rows = live.T if leaf.order == "F" else live
                for start, data in fit.parts(leaf):
                    put_run(rows, start // live.itemsize, data.view(live.dtype))

        return fit.array(
            live,
            node,
            path,
            dtype=_dtype_name(live),
            shape=live.shape,
            identity=_identity(live),
            fill=fill,
            memory=memory,
        )


class _Objects:
    """Arrays of Python objects, and NumPy's arrays of strings of any length: their shape, and their items one by one."""

    name = "numpy.objects"

    def claims(self, kind: type) -> bool:
        return False  # it depends on the element type

    def capture(self, value: np.ndarray, walk: Walk, path: str) -> Node:
        if value.dtype.kind == "T" and value.dtype != _STRINGS:
            walk.refuse(path, f"array of dtype {value.dtype!r}", "Turn it into one of StringDType().")
        items = walk.node([*value.flat], walk.child(path, "items"))
        return Object(
            self.name, "numpy.ndarray", {"shape": value.shape, "items": items}, {"kind": value.dtype.kind}
        )

    def plan(self, live: np.ndarray, node: Node, fit: Fit, path: str) -> Make:
        saved = fit.object_of(self.name, live, node, path, holds=dict)
        if saved is None:
            return fit.keep(live)
        if (saved.state["shape"], saved.about["kind"]) != (live.shape, live.dtype.kind):
            what = f"an array of {[*saved.state['shape']]} objects was saved, the live one is {live.dtype} {[*live.shape]}"
            return fit.misfit(live, path, what)
        if not live.flags.writeable:
            return fit.misfit(live, path, "the live array is read-only")
        make = fit.into([*live.flat], saved.state["items"], f"{path}/items")

        def act() -> np.ndarray:
            _put_each(live, make())
            return live

        return act

    def fresh(self, state: Any, taken: Object) -> np.ndarray:
        if len(state["items"]) != math.prod(state["shape"]):
            raise ValueError("an array has as many items as its shape says")
        made = np.empty(state["shape"], _STRINGS if taken.about["kind"] == "T" else object)
        _put_each(made, state["items"])
        return made


def _put_each(array: np.ndarray, items: list[Any]) -> None:
    for index, item in zip(np.ndindex(array.shape), items, strict=True):
        array[index] = item  # one by one: NumPy would take a list apart


class _View:
    """The subclasses of NumPy's own that are only another way to look at an array: record arrays, matrices."""

    name = "numpy.view"
    is_value = True

    def claims(self, kind: type) -> bool:
        return kind in _VIEWS.values()

    def capture(self, value: np.ndarray, walk: Walk, path: str) -> Node:
        return Object(self.name, type(value).__name__, walk.node(_plain(value), path))

    def plan(self, live: np.ndarray, node: Node, fit: Fit, path: str) -> Make:
        saved = fit.object_of(self.name, live, node, path, same_class=True)
        if saved is None:
            return fit.keep(live)
        make = fit.into(_plain(live), saved.state, path)

        def act() -> np.ndarray:
            make()
            return live

        return act

    def fresh(self, state: Any, taken: Object) -> Any:
        return state.view(_VIEWS[taken.type])


def _plain(array: np.ndarray) -> np.ndarray:
    """The same memory without the class, and of records without that of their items."""
    if array.dtype.names is not None:
        array = array.view(np.dtype((np.void, array.dtype)))
    return array.view(np.ndarray)


class _Masked:
    """Masked arrays: the values in place, masked ones too, and which are masked."""

    name = "numpy.ma"
    is_value = True

    def claims(self, kind: type) -> bool:
        return kind is np.ma.MaskedArray

    def capture(self, value: np.ma.MaskedArray, walk: Walk, path: str) -> Node:
        parts = {"data": np.ma.getdata(value), "mask": np.ma.getmaskarray(value), "fill": value.fill_value}
        nodes = {name: walk.node(part, walk.child(path, name)) for name, part in parts.items()}
        return Object(self.name, "numpy.ma.MaskedArray", nodes, {"hard": bool(value.hardmask)})

    def plan(self, live: np.ma.MaskedArray, node: Node, fit: Fit, path: str) -> Make:
        saved = fit.object_of(self.name, live, node, path, holds=dict)
        if saved is None:
            return fit.keep(live)
        fill_data = fit.into(np.ma.getdata(live), saved.state["data"], f"{path}/data")
        mask, fill = (fit.fresh(saved.state[name]) for name in ("mask", "fill"))

        def act() -> Any:
            fill_data()
            live.soften_mask()
            live.mask = mask()
            live.fill_value = fill()
            if saved.about["hard"]:
                live.harden_mask()
            return live

        return act

    def fresh(self, state: Any, taken: Object) -> Any:
        return np.ma.MaskedArray(
            state["data"], state["mask"], fill_value=state["fill"], hard_mask=taken.about["hard"]
        )


class _Scalar:
    name = "numpy.generic"

    def claims(self, kind: type) -> bool:
        return issubclass(kind, np.generic)

    def capture(self, value: np.generic, walk: Walk, path: str) -> Node:
        dtype = walk.dtype_name(value.dtype, path)
        live = LiveArray(np.frombuffer(np.asarray(value).tobytes(), np.uint8))
        return walk.array(path, dtype=dtype, shape=(), kind="scalar", live=live)

    def plan(self, live: np.generic, node: Node, fit: Fit, path: str) -> Make:
        return fit.replace(live, node, path)


def _axes(array: np.ndarray) -> tuple[int, ...]:
    if array.flags.c_contiguous or array.flags.f_contiguous or not array.size:
        return ()
    return axes_in_memory(array.shape, array.strides, array.itemsize)


def memory_order(array: np.ndarray) -> Literal["C", "F"]:
    """The memory order in which its bytes are kept: "F" only where the transpose is contiguous and the array itself is not."""
    return "F" if array.flags.f_contiguous and not array.flags.c_contiguous else "C"


def _identity(array: np.ndarray) -> tuple[Any, ...]:
    return array.__array_interface__["data"][0], array.strides


def _dtype_name(array: np.ndarray) -> str:
    try:
        return dtypes.name_of(array.dtype)
    except ValueError:
        return str(array.dtype)


OBJECTS = _Objects()
ADAPTERS = (_Array(), _Masked(), _View(), OBJECTS, _Scalar())
MAKERS = {"numpy": new_array, "scalar": lambda leaf, read: new_array(leaf, read).reshape(1)[0]}
