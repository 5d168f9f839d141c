"""Putting a state back into live objects: plan, check, act."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

from .. import collector
from ..errors import DamagedError, HoldfastError, RestoreIncompleteError, StateMismatchError
from ..records import Node, Source
from ._fit import Fit
from ._rebuild import SENSELESS
from ._tree import contents
from .adapters import python


@dataclass(frozen=True, slots=True)
class Restored:
    """What stands in the live objects' places now.

    `value` mirrors `into`: live objects are the same ones, filled in place; plain data are new values.
    `skipped` has a sentence for each thing that did not fit and was left as it was (`strict=False`), `kept` the
    path of each that the checkpoint leaves out and that was to stay as it was.
    """

    value: Any
    skipped: tuple[str, ...] = ()
    kept: tuple[str, ...] = ()


def restore(
    source: Source,
    into: Any,
    *,
    strict: bool = True,
    verify: Literal["first", "streaming"] = "first",
    tree: Node = None,
    keep: Sequence[str] = (),
) -> Restored:
    """Fill the live objects in `into`, which mirrors what was captured.

    Of a dict only its own keys are looked up, so a part of a state can be restored. `tree` stands in for
    `source.tree`. With `verify="first"` all bytes are checked before the first one is assigned; with
    "streaming" they are checked while they are read into the live arrays. What was left out by `exclude` is a
    misfit, but for what a glob pattern of `keep` matches: there the live value stays.

    Raises:
        StateMismatchError: something does not fit; nothing was changed.
        DamagedError: damage was found before anything was changed.
        RestoreIncompleteError: damage was found half-way; the live objects hold a mixture.
    """
    with collector.paused():
        return _restore(source, into, strict, verify, keep, source.tree if tree is None else tree)


def _restore(
    source: Source,
    into: Any,
    strict: bool,
    verify: Literal["first", "streaming"],
    keep: Sequence[str],
    root: Node,
) -> Restored:
    fit = Fit(source, keep)
    with _planning():
        entries = contents(root)
        if isinstance(into, dict) and isinstance(entries, dict):
            known = {key: entries[key] for key in into if key in entries}
            make = python.DICT.plan_entries(into, known, fit, "")
        else:
            make = fit.into(into, root, "")
        fit.later.run()
    if strict and fit.problems:
        raise StateMismatchError(fit.problems)
    if verify == "first":
        source.check(fit.needed)
    with _acting():
        if not fit.problems:  # an adapter that met one may have planned what it will not do
            fit.read_ahead()
        return Restored(make(), tuple(fit.problems), tuple(fit.kept))


@contextmanager
def _planning() -> Iterator[None]:
    """A state that no adapter could have written trips it up; that is told as what it is."""
    try:
        yield
    except HoldfastError:
        raise
    except SENSELESS as err:
        what = f"the state: what was saved makes no sense ({type(err).__name__}: {err})"
        raise StateMismatchError([what]) from err


@contextmanager
def _acting() -> Iterator[None]:
    try:
        yield
    except DamagedError as err:
        raise RestoreIncompleteError("the state", str(err)) from err
    except HoldfastError:
        raise
    except SENSELESS as err:
        why = f"the live object did not take it ({type(err).__name__}: {err})"
        raise RestoreIncompleteError("the state", why) from err
