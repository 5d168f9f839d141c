"""Rebuilding an estimator: its parameters must be the live ones, what it learned is created anew."""

from __future__ import annotations

import math
import operator
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
import scipy.sparse
import sklearn
from numpy.random import mtrand
from sklearn.base import BaseEstimator
from sklearn.utils import Bunch

from .... import dtypes, paths
from ...._wording import a
from ....records import Node, Object
from ..._fit import Fit, Make, said, unmakeable
from ..._kinds import type_name
from ._birch import BEFORE, make_root
from ._code import is_code, make_partial, parts_of, taken_live
from ._compiled import (
    check_booster,
    check_decision_tree,
    check_predictor,
    make_call,
    make_neighbors,
    make_sparse,
    make_spread,
    make_tree,
)
from ._parts import FREE, RUNTIME, VERSION_KEY, Classes, parameter_names, relative
from ._scipy import family_name, family_named, make_frozen, make_spline
from ._tables import FUNCTIONS, scalar_type

_GROWING = frozenset({"n_estimators", "max_iter"})
"""Parameters that a loop increases between fits with `warm_start`: they say how far it got, so they are state."""


class Making:
    """One plan for the outermost live estimator, `root`, which stands at `path`."""

    def __init__(self, root: BaseEstimator, fit: Fit, path: str) -> None:
        self._classes = Classes(root)
        self._fit, self._root = fit, path
        self._made: dict[str, Any] = {}  # while acting: what has been met, by where

    # What the live estimator holds

    def into(self, live: Any, node: Node, path: str) -> Make:
        """Plan to make a live object of a known class what `node` says."""
        is_object = isinstance(node, Object) and node.adapter == "sklearn.object"
        if not (is_object and self._classes.named(node.type) is type(live)):
            return self._misfit(live, path, f"{said(node)} was saved, the live object is {_shown(live)}")
        parameters = parameter_names(live)
        makes = self._attributes(live, parameters, node.state, path)

        def act() -> Any:
            self._made[relative(path, self._root)] = live
            kept = {
                name: entry for name, entry in vars(live).items() if name in parameters or name in RUNTIME
            }
            learned = {name: make() for name, make in makes.items()}
            vars(live).clear()
            _fill(live, node.type, kept | learned)
            return live

        return act

    def _attributes(
        self, live: Any, parameters: frozenset[str], state: Mapping[str, Node], path: str
    ) -> dict[str, Make]:
        makes: dict[str, Make] = {}
        for name, node in state.items():
            below = paths.child(path, name)
            if name not in parameters:
                makes[name] = self.fresh(node, below)
            elif not hasattr(live, name):
                self._fit.problem(below, "was saved, and the live object has no such parameter")
            elif name in _GROWING and getattr(live, "warm_start", False) is True:
                makes[name] = self.fresh(node, below)
            elif name not in FREE:
                makes[name] = self._parameter(getattr(live, name), node, below)
        for name in sorted(parameters - state.keys() - FREE):
            self._fit.problem(paths.child(path, name), "is a parameter that is not in the saved state")
        return makes

    def _parameter(self, live: Any, node: Node, path: str) -> Make:
        """Plan to fill a parameter that is an object; a plain one must be what it was."""
        node = self._fit.resolve(node)
        match node:
            case Object(adapter="sklearn.same"):
                return self._fit.keep(live)
            case Object(adapter="sklearn.object") if isinstance(live, str):
                # `fit` puts an estimator in the place of "passthrough".
                return self.fresh(node, path)
            case Object(adapter="sklearn.object"):
                return self.into(live, node, path)
            case Object(adapter="sklearn.live"):
                is_same = is_code(live) and taken_live(live).state == node.state
                return self._own_code(live, node, path, is_same=is_same)
            case Object(adapter="sklearn.family"):
                return self._own_code(live, node, path, is_same=family_name(live) == node.type)
            case Object(adapter=adapter) if (composed := parts_of(live)) is not None and composed[
                0
            ] == adapter:
                return self._composed(live, composed[2], node, path)
            case Object(adapter=adapter) if adapter not in _MAKERS:
                return self._remembered(self._fit.into(live, node, path), path)
            case list() | tuple() if type(live) is type(node) and len(live) == len(node):
                pairs = enumerate(zip(live, node, strict=True))
                return _items([self._parameter(*pair, paths.item(path, at)) for at, pair in pairs], live)
            case dict() if type(live) is dict and live.keys() == node.keys():
                keys = {key: paths.child(path, key) for key in node}
                return _entries(
                    {key: self._parameter(live[key], node[key], below) for key, below in keys.items()}, live
                )
        if isinstance(live, BaseEstimator) or any(lost.adapter not in _MAKERS for lost in unmakeable(node)):
            return self._misfit(live, path, f"{said(node)} was saved, the live parameter is {said(live)}")
        saved = self._value(node, path, self._fit.value)()
        if not _equal(saved, live):
            what = f"{_shown(saved)} was saved, the live parameter is {_shown(live)}; set_params() changes it"
            return self._misfit(live, path, what)
        return self._remembered(self._fit.keep(live), path)

    def _own_code(self, live: Any, node: Object, path: str, *, is_same: bool) -> Make:
        if is_same:
            return self._remembered(self._fit.keep(live), path)
        return self._misfit(live, path, f"{node.type} was saved, the live parameter is {_shown(live)}")

    def _composed(self, live: Any, parts: dict[str, Any], node: Object, path: str) -> Make:
        """Plan for what is composed of code and arguments: all of its parts must fit."""
        if not isinstance(node.state, dict) or node.state.keys() != parts.keys():
            return self._misfit(live, path, f"what was saved of this {node.type} is not valid")
        below = [
            self._parameter(part, node.state[name], paths.child(path, name)) for name, part in parts.items()
        ]

        def act() -> Any:
            for make in below:
                make()
            return live

        return self._remembered(act, path)

    def _misfit(self, live: Any, path: str, what: str) -> Make:
        return self._remembered(self._fit.misfit(live, path, what), path)

    # What it learned

    def fresh(self, node: Node, path: str) -> Make:
        """Plan to make something for which the tables are enough."""
        return self._value(node, path, None)

    def _value(self, node: Node, path: str, now: Callable[[Node], Any] | None) -> Make:
        def below(node: Node, path: str) -> Make:
            return self._value(node, path, now)

        match node:
            case list() | tuple():
                makes = [below(entry, paths.item(path, at)) for at, entry in enumerate(node)]
                return lambda: type(node)(make() for make in makes)
            case dict():
                made = {key: below(entry, paths.child(path, key)) for key, entry in node.items()}
                return lambda: {key: make() for key, make in made.items()}
            case Object(adapter="sklearn.same", state=str(first)):
                return lambda: self._made[first]
            case Object(adapter="sklearn.object"):
                return self._fresh_object(node, path)
            case Object(adapter="sklearn.birch"):
                return self._birch(below(node.state, path), path)
            case Object(adapter=adapter) if adapter in _MAKERS:
                inner, maker = below(node.state, path), _MAKERS[adapter]
                return self._remembered(lambda: maker(inner(), node), path)
            case _ if now is not None:
                return lambda: now(node)
            case _:
                make = self._fit.replace(None, node, path)
                return self._remembered(make, path) if isinstance(node, Object) else make

    def _birch(self, make: Make, path: str) -> Make:
        def act() -> Any:
            root, before = make_root(make())
            self._made[relative(paths.child(path, BEFORE), self._root)] = before
            return root

        return self._remembered(act, path)

    def _remembered(self, make: Make, path: str) -> Make:
        def act() -> Any:
            made = self._made[relative(path, self._root)] = make()
            return made

        return act

    def _fresh_object(self, node: Object, path: str) -> Make:
        kind = self._classes.named(node.type)
        if kind is None:
            return self._fit.misfit(
                None, path, f"{a(node.type)} was saved, but this version has no such class"
            )
        makes = {name: self.fresh(entry, paths.child(path, name)) for name, entry in node.state.items()}

        def act() -> Any:
            made = self._made[relative(path, self._root)] = object.__new__(kind)
            _fill(made, node.type, {name: make() for name, make in makes.items()})
            return made

        return act


def _fill(made: Any, name: str, state: dict[str, Any]) -> None:
    own = getattr(type(made), "__setstate__", None)
    if own in (None, BaseEstimator.__setstate__):
        vars(made).update(state)
    elif isinstance(made, BaseEstimator):
        own(made, state | {VERSION_KEY: sklearn.__version__})
    else:
        own(made, state)
    if name in _CHECKS:
        _CHECKS[name](made)


def _items(makes: list[Make], live: Any) -> Make:
    """The live list or tuple, unless one of its items is a new one."""

    def act() -> Any:
        made = [make() for make in makes]
        return live if all(map(operator.is_, made, live)) else type(live)(made)

    return act


def _entries(makes: dict[Any, Make], live: dict[Any, Any]) -> Make:
    def act() -> Any:
        made = {key: make() for key, make in makes.items()}
        return live if all(made[key] is live[key] for key in made) else made

    return act


def _equal(saved: Any, live: Any) -> bool:
    """Whether a parameter is the same; NaN is equal to NaN."""
    if isinstance(saved, np.ndarray) or isinstance(live, np.ndarray):
        floats = all(getattr(value, "dtype", np.dtype(object)).kind in "fc" for value in (saved, live))
        return type(saved) is type(live) and np.array_equal(saved, live, equal_nan=floats)
    if scipy.sparse.issparse(saved) and scipy.sparse.issparse(live):
        return saved.shape == live.shape and (saved != live).nnz == 0
    if isinstance(saved, partial) and isinstance(live, partial):
        parts = [(value.func, value.args, value.keywords) for value in (saved, live)]
        return parts[0] == parts[1]
    if isinstance(saved, list | tuple) and isinstance(live, list | tuple):
        return len(saved) == len(live) and all(map(_equal, saved, live))
    return saved is live or bool(saved == live) or (_is_nan(saved) and _is_nan(live))


def _is_nan(value: Any) -> bool:
    return isinstance(value, float) and math.isnan(value)


def _shown(value: Any) -> str:
    if hasattr(value, "__dict__") and not callable(value):
        return a(type_name(type(value)))
    text = repr(value)
    return text if len(text) <= 60 else said(value)


def _make_objects(items: list[Any], taken: Object) -> np.ndarray:
    array = np.empty(len(items), object)
    for at, item in enumerate(items):  # one by one: assigned at once, equal lists would become rows
        array[at] = item
    return array.reshape(taken.about["shape"])


def _named(find: Callable[[str], Any], what: str) -> Callable[[None, Object], Any]:
    """Makes what `find` knows by this name."""

    def make(state: None, taken: Object) -> Any:
        if (found := find(taken.type)) is None:
            raise ValueError(f"{taken.type} is not a {what}")
        return found

    return make


_ITEMS: dict[str, Callable[[Any], Any]] = {
    "builtins.dict": dict,
    "collections.defaultdict": partial(defaultdict, OrderedDict),  # LightGBM's scores
    "sklearn.utils.Bunch": lambda pairs: Bunch(**dict(pairs)),
}

_MAKERS: dict[str, Callable[[Any, Object], Any]] = {
    "sklearn.call": make_call,
    "sklearn.distribution": make_frozen,
    "sklearn.dtype": lambda name, taken: np.dtype(object) if name == "object" else dtypes.to_numpy(name),
    "sklearn.family": _named(family_named, "family of distributions that a state may name"),
    "sklearn.function": _named(FUNCTIONS.named, "function that a state may name"),
    "sklearn.global_random": lambda state, taken: mtrand._rand,  # type: ignore[attr-defined]
    "sklearn.items": lambda pairs, taken: _ITEMS[taken.type](pairs),
    "sklearn.masked": lambda parts, taken: np.ma.MaskedArray(
        parts["data"], parts["mask"], fill_value=parts["fill_value"]
    ),
    "sklearn.neighbors": make_neighbors,
    "sklearn.objects": _make_objects,
    "sklearn.partial": make_partial,
    "sklearn.sparse": make_sparse,
    "sklearn.spline": make_spline,
    "sklearn.spread": make_spread,
    "sklearn.tree": make_tree,
    "sklearn.type": _named(scalar_type, "type of numbers or strings"),
}

_CHECKS: dict[str, Callable[[Any], None]] = {
    "sklearn.ensemble.HistGradientBoostingClassifier": check_booster,
    "sklearn.ensemble.HistGradientBoostingRegressor": check_booster,
    "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor": check_predictor,
    **{
        f"sklearn.tree.{kind}Tree{of}": check_decision_tree
        for kind in ("Decision", "Extra")
        for of in ("Classifier", "Regressor")
    },
}
