"""SciPy: sparse matrices and arrays of all formats, filled in place; lists and dicts of items are saved as coordinates."""

from __future__ import annotations

from typing import Any

import scipy.sparse

from ...records import Node, Object
from .._fit import Fit, Make
from .._walk import Walk

_PARTS = {
    **dict.fromkeys(("csr", "csc", "bsr"), ("data", "indices", "indptr")),
    **dict.fromkeys(("coo", "lil", "dok"), ("data", "row", "col")),
    "dia": ("data", "offsets"),
}
_BY_ITEM = {"lil": ("rows", "data"), "dok": ("_dict",)}
"""Formats that are no arrays, with the attributes that hold their items."""
_KINDS = {
    f"scipy.sparse.{form}_{what}": getattr(scipy.sparse, f"{form}_{what}")
    for form in _PARTS
    for what in ("matrix", "array")
    if hasattr(scipy.sparse, f"{form}_{what}")
}


class _Sparse:
    """Two of one shape and format take each other's values, however many there are."""

    name = "scipy.sparse"
    is_value = True

    def claims(self, kind: type) -> bool:
        return kind in _KINDS.values()

    def capture(self, value: Any, walk: Walk, path: str) -> Node:
        if value.ndim != 2:
            walk.refuse(path, f"sparse array of {value.ndim} dimensions", "Make it one of two.")
        held = value.tocoo() if value.format in _BY_ITEM else value
        parts = {
            name: walk.node(getattr(held, name), walk.child(path, name)) for name in _PARTS[value.format]
        }
        about = {"shape": list(value.shape), "format": value.format}
        return Object(self.name, f"scipy.sparse.{type(value).__name__}", parts, about)

    def plan(self, live: Any, node: Node, fit: Fit, path: str) -> Make:
        saved = fit.object_of(self.name, live, node, path, same_class=True, holds=dict)
        if saved is None:
            return fit.keep(live)
        if saved.about["shape"] != list(live.shape):
            was, now = saved.about["shape"], list(live.shape)
            return fit.misfit(live, path, f"a sparse array of shape {was} was saved, the live one is {now}")
        make = fit.fresh(node)

        def act() -> Any:
            made = make()
            for name in _BY_ITEM.get(live.format, _PARTS[live.format]):
                setattr(live, name, getattr(made, name))
            return live

        return act

    def fresh(self, state: Any, taken: Object) -> Any:
        form, shape = taken.about["format"], tuple(taken.about["shape"])
        parts = [state[name] for name in _PARTS[form]]
        if form in ("csr", "csc", "bsr"):
            made: Any = _KINDS[taken.type](tuple(parts), shape=shape)
            made.check_format(full_check=True)
            return made
        if form == "dia":
            return _KINDS[taken.type](tuple(parts), shape=shape)
        items = (parts[0], tuple(parts[1:]))
        if form in _BY_ITEM:
            return _KINDS[taken.type](scipy.sparse.coo_array(items, shape=shape))
        return _KINDS[taken.type](items, shape=shape)


ADAPTERS = (_Sparse(),)
