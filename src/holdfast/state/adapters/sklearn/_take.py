"""Taking an estimator apart. What could not be rebuilt is refused here, by name."""

from __future__ import annotations

from collections import OrderedDict, defaultdict
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.random import BitGenerator, Generator, RandomState, mtrand
from scipy.interpolate import BSpline
from sklearn.base import BaseEstimator
from sklearn.neighbors import BallTree, KDTree
from sklearn.tree._tree import Tree
from sklearn.utils import Bunch

from .... import paths
from ....records import Node, Object
from ..._fit import unmakeable
from ..._kinds import type_name
from ..._walk import Walk
from ._birch import BEFORE, CFNode, take_root
from ._code import FUNCTIONS as FUNCTION_TYPES
from ._code import is_code, name_of, parts_of, taken_live
from ._compiled import SPARSE, is_spread, take_call, take_neighbors, take_sparse, take_spread, take_tree
from ._parts import FREE, RUNTIME, VERSION_KEY, Classes, parameter_names, relative
from ._scipy import FAMILY, family_name, take_spline
from ._tables import COMPILED, FUNCTIONS, scalar_type_name

# Types without attributes whose instances can be shared and changed in place.
_SHARED = frozenset(
    {
        *(f"sklearn.{kind}" for kind in ("neighbors", "objects", "sparse", "spread", "tree")),
        *(f"{library}.booster" for library in ("lightgbm", "xgboost")),
    }
)
_MAX_DEPTH = 50  # a tree file may nest 256 deep, and an object takes four levels there
_NO_CODE = (
    "Beside what its parameters hold, only functions of scikit-learn, NumPy's elementary ones and scipy.special's can be "
    "named in a state."
)


class Taking:
    """One walk through the outermost estimator, `root`, which stands at `path`.

    What is `held` (the estimator itself, and what its parameters hold) will be there when the state is put
    back; everything else must be possible to make from tables.
    """

    def __init__(self, root: BaseEstimator, walk: Walk, path: str) -> None:
        self._classes = Classes(root)
        self._walk, self._root = walk, path
        self._open: set[int] = set()
        self._met: dict[int, tuple[Any, str]] = {}  # the object is kept, so that its id stays its own

    def value(self, value: Any, path: str, *, held: bool) -> Node:
        """The state of anything that an estimator may hold."""
        if value is None or type(value) in (bool, int, float, str):
            return value
        if (met := self._met.get(id(value))) is not None:
            return Object("sklearn.same", type_name(type(value)), relative(met[1], self._root))
        if id(value) in self._open:
            self._walk.refuse(path, f"{type(value).__name__} that contains itself", "Break the cycle.")
        if len(self._open) >= _MAX_DEPTH:
            self._walk.refuse(path, f"value nested deeper than {_MAX_DEPTH} levels in an estimator")
        self._open.add(id(value))
        try:
            node = self._taken(value, path, held=held)
            if isinstance(node, Object) and node.adapter in _SHARED:
                self._met.setdefault(id(value), (value, path))
            return node
        finally:
            self._open.discard(id(value))

    def _taken(self, value: Any, path: str, *, held: bool) -> Node:
        match value:
            case _ if value is mtrand._rand:  # type: ignore[attr-defined]
                return Object("sklearn.global_random", "numpy.random", None)
            case RandomState() | Generator() | BitGenerator():
                self._met[id(value)] = value, path
                return self._walk.node(value, path)
            case BaseEstimator():
                return self.object(value, path, held=held)
            case np.ndarray() if type(value) is np.ndarray and value.dtype == object:
                return self._objects(value, path)
            case np.ndarray() if type(value) is np.ndarray and is_spread(value):
                return take_spread(value, self._walk, path)
            case np.ma.MaskedArray():
                return self._masked(value, path)
            case np.dtype():
                is_object = value.hasobject and value.names is None
                name = "object" if is_object else self._walk.dtype_name(value, path)
                return Object("sklearn.dtype", "numpy.dtype", name)
            case Tree():
                return take_tree(value, self._walk, path)
            case KDTree() | BallTree():
                return take_neighbors(
                    *(value, self._walk, path), lambda part, below: self.value(part, below, held=False)
                )
            case BSpline():
                return take_spline(value, self._walk, path)
            case CFNode():
                node, before = take_root(value, self._walk, path)
                self._met[id(before)] = before, paths.child(path, BEFORE)
                return node
            case _ if is_code(value):
                return self._code(value, path, held=held)
            case _ if (composed := parts_of(value)) is not None:
                adapter, name, parts = composed
                if adapter == "sklearn.method" and not held:
                    self._walk.refuse(path, f"method {name}", _NO_CODE)
                return Object(adapter, name, self._entries(parts, path, held=held))
            case _ if type(value) in SPARSE.values():
                return take_sparse(value, self._walk, path)
            case _ if (name := COMPILED.name_of(type(value))) is not None:
                return take_call(value, name, self._walk, path)
            case _ if self._classes.name_of(type(value)) is not None:
                return self.object(value, path, held=held)
            case _:
                return self._container(value, path, held=held)

    def object(self, value: Any, path: str, *, held: bool) -> Object:
        """The attributes of an object of a known class, its parameters first."""
        name = self._classes.name_of(type(value))
        if name is None:
            hint = "Only scikit-learn's own classes, and those of estimators in the parameters, can be made again."
            self._walk.refuse(path, type_name(type(value)), hint)
        self._met[id(value)] = value, path
        parameters = parameter_names(value)
        state = self._attributes(value, path)
        # Of a Birch the tree comes before the leaf that leads into it.
        order = sorted(state, key=lambda attribute: (attribute not in parameters, attribute != "root_"))
        return Object(
            "sklearn.object",
            name,
            {
                attribute: self.value(
                    state[attribute], paths.child(path, attribute), held=held and attribute in parameters
                )
                for attribute in order
                if not (attribute in RUNTIME or (held and attribute in FREE))
            },
        )

    def _attributes(self, value: Any, path: str) -> dict[str, Any]:
        state = value.__getstate__() if isinstance(value, BaseEstimator) else dict(vars(value))
        if not isinstance(state, dict):
            self._walk.refuse(path, f"{type_name(type(value))} whose __getstate__ does not return a dict")
        return {attribute: entry for attribute, entry in state.items() if attribute != VERSION_KEY}

    def _container(self, value: Any, path: str, *, held: bool) -> Node:
        if type(value) in (list, tuple):
            items = self._items(value, path, held=held)
            return items if type(value) is list else tuple(items)
        if (items := _items_name(value)) is not None:
            pairs = [
                self._items(pair, paths.item(path, at), held=False) for at, pair in enumerate(value.items())
            ]
            return Object("sklearn.items", items, pairs)
        if type(value) is dict:
            return self._entries(value, path, held=held)
        if isinstance(value, tuple):
            self._walk.refuse(path, f"{type_name(type(value))} inside an estimator")
        node = self._walk.node(value, path)
        lost = None if held else next(unmakeable(node), None)
        if lost is not None:
            self._walk.refuse(path, f"{lost.type} inside an estimator", "It could not be rebuilt.")
        return node

    def _items(self, values: Iterable[Any], path: str, *, held: bool) -> list[Node]:
        return [self.value(entry, paths.item(path, at), held=held) for at, entry in enumerate(values)]

    def _objects(self, value: np.ndarray, path: str) -> Object:
        items = self._items(value.ravel(), path, held=False)
        return Object("sklearn.objects", "numpy.ndarray", items, {"shape": list(value.shape)})

    def _masked(self, value: Any, path: str) -> Object:
        parts = {"data": value.data, "mask": np.ma.getmaskarray(value), "fill_value": value.fill_value}
        return Object("sklearn.masked", "numpy.ma.MaskedArray", self._entries(parts, path))

    def _entries(self, parts: dict[Any, Any], path: str, *, held: bool = False) -> dict[Any, Node]:
        return {key: self.value(part, self._walk.child(path, key), held=held) for key, part in parts.items()}

    def _code(self, value: Any, path: str, *, held: bool) -> Object:
        if isinstance(value, FAMILY):
            adapter, name, kind = "sklearn.family", family_name(value), "distribution"
        elif isinstance(value, type):
            adapter, name, kind = "sklearn.type", scalar_type_name(value), "class"
        else:
            adapter, kind = "sklearn.function", "function"
            name = FUNCTIONS.name_of(value) if isinstance(value, FUNCTION_TYPES) else None
        if name is not None:
            return Object(adapter, name, None)
        if not held:
            self._walk.refuse(path, f"{kind} {name_of(value).removeprefix('builtins.')}", _NO_CODE)
        self._met[id(value)] = value, path
        return taken_live(value)


def _items_name(value: Any) -> str | None:
    """The type of a mapping that is known here only, or has keys that are."""
    if type(value) is dict and any(isinstance(key, np.generic) for key in value):
        return "builtins.dict"
    if type(value) is defaultdict and value.default_factory is OrderedDict:
        return "collections.defaultdict"
    return "sklearn.utils.Bunch" if type(value) is Bunch else None
