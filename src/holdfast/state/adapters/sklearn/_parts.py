"""Shared by both directions: names of classes, parameters, and what is kept out of a state."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sklearn.base import BaseEstimator

from ..._kinds import bare_name, type_name
from ..._registry import adapter_of
from ._code import is_code, parts_of
from ._tables import CLASSES

_MAX_DEPTH = 5  # of containers in a parameter
VERSION_KEY = "_sklearn_version"

# How much is computed at once and what is printed: a live estimator keeps its own.
FREE = frozenset({"n_jobs", "verbose", "pre_dispatch", "cache_size"})
# Callbacks belong to the running program, like its code.
RUNTIME = frozenset(
    {"_skl_callbacks", "_skl_callbacks_to_teardown", "_callback_fit_ctx", "_parent_callback_ctx"}
)


class Classes:
    """The classes that a state may name: those of the table, and those of the live estimators' own.

    So a class of the user's can be in a grid search, where it must be made again, because the live search
    holds one.
    """

    def __init__(self, live: Any) -> None:
        self._own: dict[str, type] = {}
        for kind in _kinds(live):
            if CLASSES.name_of(kind) is None:
                self._own[type_name(kind)] = kind

    def name_of(self, kind: type) -> str | None:
        own = type_name(kind)
        return own if self._own.get(own) is kind else CLASSES.name_of(kind)

    def named(self, name: str) -> type | None:
        """The class of this name; one of the estimators' own may have been moved to another module since."""
        return self._own.get(name) or CLASSES.named(name) or self._moved(name)

    def _moved(self, name: str) -> type | None:
        if name.startswith("sklearn."):  # a name of the table, which this version lacks
            return None
        found = [kind for own, kind in self._own.items() if bare_name(own) == bare_name(name)]
        return found[0] if len(found) == 1 else None


def parameter_names(value: Any) -> frozenset[str]:
    """What decides what `value` is before it learns: an estimator's parameters, all of anything else."""
    if isinstance(value, BaseEstimator):
        return frozenset(value.get_params(deep=False))
    return frozenset(vars(value))


def relative(path: str, root: str) -> str:
    """The name of an object inside the outermost estimator where it occurs again."""
    return path[len(root) :].lstrip("/")


def _kinds(live: BaseEstimator) -> Iterator[type]:
    yield type(live)
    for value in live.get_params(deep=True).values():
        if isinstance(value, BaseEstimator):
            yield type(value)
        else:
            yield from _callables(value, _MAX_DEPTH)


def _callables(value: Any, depth: int) -> Iterator[type]:
    """Classes of objects that stand for functions, and are known by their attributes."""
    if isinstance(value, list | tuple | dict) and depth:
        for each in value.values() if isinstance(value, dict) else value:
            yield from _callables(each, depth - 1)
    elif (composed := parts_of(value)) is not None and depth:
        yield from _callables(composed[2].get("func"), depth - 1)
        yield from _owners(composed[2].get("self"))
    elif callable(value):
        yield from _owners(value)


def _owners(value: Any) -> Iterator[type]:
    is_plain = hasattr(value, "__dict__") and not any(
        "__slots__" in vars(kind) for kind in type(value).__mro__
    )
    if is_plain and not is_code(value) and adapter_of(type(value)) is None:
        yield type(value)
