"""Restoring a state into live objects: plan, check, act."""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from .. import collector
from ..errors import (
    CheckpointUnreadableError,
    DamagedError,
    HoldfastError,
    RestoreIncompleteError,
    StateMismatchError,
    UsageError,
)
from ..records import Node, Source
from ._fit import Fit
from ._partial import renamed, selected, without_modes
from ._rebuild import SENSELESS
from ._tree import contents
from .adapters import python

_STRICT = (
    "Build the objects as they were when saved, or pass strict=False to leave what does not fit as it is."
)


@dataclass(frozen=True, slots=True)
class Restored:
    """The result of a restore.

    `value` mirrors `into`: live objects are the same ones, filled in place; plain data are new values.
    `loaded` has the saved path of each array that was read. The rest is in one of two lists: `skipped` has a
    sentence for each thing that did not fit and was left as it was (`strict=False`), `kept` the path of each that was
    to stay as it was: `only` did not mean it, or the checkpoint leaves it out.
    """

    value: Any
    skipped: tuple[str, ...] = ()
    kept: tuple[str, ...] = ()
    loaded: tuple[str, ...] = ()

    @property
    def report(self) -> str:
        """What was loaded, and what was not and why, a line each."""
        lines = [
            *(f"loaded      {path}" for path in self.loaded),
            *(f"not loaded  {sentence}" for sentence in self.skipped),
            *(f"not loaded  {path}: kept as it was, as requested" for path in self.kept),
        ]
        return "\n".join(lines)


class Opened(Protocol):
    """An opened checkpoint."""

    @property
    def source(self) -> Source: ...


def restore(
    source: Source | Opened,
    into: Any,
    *,
    strict: bool = True,
    verify: Literal["first", "streaming"] = "first",
    tree: Node = None,
    keep: Sequence[str] = (),
    only: str | Sequence[str] | None = None,
    rename: Mapping[str, str] | None = None,
    put_later: Container[str] = (),
    ready: Callable[[], None] = lambda: None,
) -> Restored:
    """Fill the live objects in `into`, which mirrors what was captured.

    `source` is an opened checkpoint, or a snapshot that `capture` took.

    Of a dict only its own keys are looked up, so a part of a state can be restored. `tree` stands in for
    `source.tree`. With `verify="first"` all bytes are checked before the first one is assigned; with
    "streaming" they are checked while they are read into the live arrays. What `exclude` left out is a
    misfit, unless a pattern of `keep` matches it: there the live value stays. So do arrays at the paths `put_later`
    (`path_of_place`), which the caller puts there himself: views, which are not to be written.

    `rename` (saved path: path among the live objects) and then `only`, one pattern or several over paths of the live
    objects (see `paths.matches`), make it a partial restore: what does not match stays as it is, and is not a misfit, and
    modules keep their training modes and frozen parameters. `Restored.report` says what was loaded, and what not.

    `ready` is called once all is planned and, with `verify="first"`, checked; what it raises is raised, and nothing is changed.

    Raises:
        UsageError: `only` matches nothing in the checkpoint, or `rename` names something that is not there; or `source` is
            not opened.
        StateMismatchError: something does not fit; nothing was changed.
        DamagedError: damage was found before anything was changed.
        RestoreIncompleteError: damage was found half-way; the live objects hold a mixture.
    """
    opened = _opened(source)
    with collector.paused():
        root, is_meant = opened.tree if tree is None else tree, None
        if rename:
            root = without_modes(renamed(root, rename))
        if only is not None:
            root, is_meant = selected(root, [only] if isinstance(only, str) else only)
        return _restore(opened, into, strict, verify, Fit(opened, keep, is_meant, put_later), root, ready)


def _opened(given: Any) -> Source:
    """What was passed to be restored from: opened, or in memory."""
    source = getattr(given, "source", given)  # a Checkpoint has one
    if not hasattr(source, "tree"):
        raise UsageError(
            f"restore() takes an opened checkpoint or a snapshot, not {given!r}: open(path) gives one, and "
            "load(path, into=state) does both."
        )
    return source


def _restore(
    source: Source,
    into: Any,
    strict: bool,
    verify: Literal["first", "streaming"],
    fit: Fit,
    root: Node,
    ready: Callable[[], None],
) -> Restored:
    try:
        entries = contents(root)
        if isinstance(into, dict) and isinstance(entries, dict):
            known = {key: entries[key] for key in into if key in entries}
            make = python.DICT.plan_entries(into, known, fit, "")
        else:
            make = fit.into(into, root, "")
        fit.finish()
    except HoldfastError:
        raise
    except SENSELESS as err:  # a state that no adapter could have written
        what = f"the state: the saved state is not valid ({type(err).__name__}: {err})"
        raise StateMismatchError([what]) from err
    if strict and fit.problems:
        raise StateMismatchError(fit.problems, _STRICT)
    if verify == "first":
        source.check(fit.needed)
    ready()
    try:
        if not fit.problems:  # an adapter that reported one may have planned something invalid
            fit.read_ahead()
        loaded = tuple(leaf.path for leaf in fit.needed)
        return Restored(make(), tuple(fit.problems), tuple(dict.fromkeys(fit.kept)), loaded)
    except (DamagedError, CheckpointUnreadableError) as err:
        raise RestoreIncompleteError("the state", str(err)) from err
    except HoldfastError:
        raise
    except SENSELESS as err:
        why = f"the live object did not accept it ({type(err).__name__}: {err})"
        raise RestoreIncompleteError("the state", why) from err
