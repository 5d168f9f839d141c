"""What estimators hold of SciPy: distributions to draw parameters from, by their public names, and splines."""

from __future__ import annotations

from typing import Any

import scipy.stats
from scipy.interpolate import BSpline

from .... import paths
from ....records import Node, Object
from ..._walk import Walk

FAMILY: type = scipy.stats.rv_continuous.__mro__[1]  # it has no public name
FROZEN: type = type(scipy.stats.norm()).__mro__[1]


def family_name(family: Any) -> str | None:
    """The name of a family of distributions, if it is one of SciPy's own."""
    name = getattr(family, "name", "")
    public = getattr(scipy.stats, name, None) if isinstance(name, str) else None
    is_public = isinstance(public, FAMILY) and type(public) is type(family)
    return f"scipy.stats.{name}" if is_public else None


def family_named(full: str) -> Any:
    """SciPy's family of distributions of this name; None if there is none."""
    found = getattr(scipy.stats, full.removeprefix("scipy.stats."), None)
    return found if isinstance(found, FAMILY) else None


def make_frozen(parts: Any, taken: Object) -> Any:
    """A distribution with its arguments: numbers and arrays of them."""
    if not isinstance(parts["family"], FAMILY):
        raise ValueError("it is of no family of distributions")
    made = parts["family"](*parts["arguments"], **parts["keywords"])
    if parts["random_state"] is not None:
        made.random_state = parts["random_state"]
    return made


def take_spline(value: BSpline, walk: Walk, path: str) -> Object:
    parts = {"t": value.t, "c": value.c, "k": value.k, "extrapolate": value.extrapolate, "axis": value.axis}
    state: dict[str, Node] = {name: walk.node(part, paths.child(path, name)) for name, part in parts.items()}
    return Object("sklearn.spline", "scipy.interpolate.BSpline", state)


def make_spline(state: Any, taken: Object) -> BSpline:
    """Its constructor asks whether knots and coefficients fit."""
    return BSpline(**{name: state[name] for name in ("t", "c", "k", "extrapolate", "axis")})
