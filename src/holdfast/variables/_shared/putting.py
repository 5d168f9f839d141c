"""Putting one object at all the places where it was, and finding the objects of the script by the names that a checkpoint has for them."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Any

from .._baseline import Baseline
from .._frames import Scope
from .._kinds import is_array, is_jax_array
from .._looks.identity import find, method_of, place_of_method
from .._walk import Slot
from .memory import View, form
from .places import HANDED, at, elements_of, put_at, root_of_text
from .sharing import can_change


class Objects:
    """The objects of the script, by the names that a checkpoint has for them.

    Args:
        handed: what was handed over, by name.
        made: what a resume has made anew, by `scope/key`.
    """

    def __init__(
        self,
        scopes: list[Scope],
        baseline: Baseline,
        handed: Mapping[str, Any],
        made: Mapping[str, Any] | None = None,
    ) -> None:
        self._there = {scope.name: scope for scope in scopes}
        self._baseline, self.handed = baseline, handed
        self._made = {} if made is None else made

    def called(self, name: str, like: Any = None) -> Any:
        """`=scope/key` as it was when the loop began, a place in that, in what was handed over, or in what was made anew, a method of
        what is there, or `module:name` of code in place of `like`.

        Raises:
            LookupError: nothing is called so now.
        """
        found = None
        if (method := place_of_method(name)) is not None:
            if (found := method_of(self.called(method[1]), method[0])) is None:
                raise LookupError(f"there is no method {method[0]} now")
            return found
        with contextlib.suppress(LookupError, ValueError):
            root, inside = root_of_text(name), elements_of(name)
            if name.startswith("=") or root.startswith("="):
                scope, _, key = (root or name)[1:].partition("/")
                first = self._baseline.named(self._there[scope], key)
                found = at(None if first is None else first.get(), inside)
            elif root.startswith(HANDED):
                found = at(self.handed[root.removeprefix(HANDED)], inside)
            elif root:
                found = at(self._made[root], inside)
            else:
                found = find(name, like)
        if found is None:
            raise LookupError(f"nothing is called {name.lstrip('=')} now")
        return found


def without_source(shared: Mapping[str, str], objects: Objects) -> dict[str, str]:
    """By root, why what was handed over does not hold what it did: then what the script has made stays there."""
    failed: dict[str, str] = {}
    for target, source in shared.items():
        root, view = root_of_text(source), View.read(source)
        if root.startswith(HANDED):
            try:
                found = at(objects.handed[root.removeprefix(HANDED)], elements_of(source))
                if not can_change(found) or not (view is None or view.fits(found)):
                    raise LookupError("it is another one")
            except (LookupError, ValueError) as err:
                what = f"what it shares with {root.removeprefix(HANDED)} is not there now"
                failed[root_of_text(target)] = f"{what} ({type(err).__name__}: {err})"
    return failed


def share(
    target: str, source: str, slots: Mapping[str, Slot], done: dict[str, Any], objects: Mapping[str, Any]
) -> None:
    """Let the object that is at one place be at the other one, too."""

    def root(text: str) -> tuple[str, Any]:
        path = root_of_text(text)
        if path.startswith(HANDED):
            return path, objects[path.removeprefix(HANDED)]
        return path, done[path] if path in done else slots[path].value

    value, view = at(root(source)[1], elements_of(source)), View.read(source)
    if view is not None:
        value = view.make(value)
    if not can_change(value):
        raise LookupError("something else is there")
    path, now = root(target)
    if view is not None and _is_there(now, elements_of(target), value):
        if not elements_of(target):
            done[path] = now
        return
    changed = put_at(now, elements_of(target), value)
    if changed is not now:
        slots[path].put(changed)
        done[path] = changed


def _is_there(value: Any, elements: list[str], view: Any) -> bool:
    """Whether an array lies there already as this one does: it may have other places, and need not be writable."""
    with contextlib.suppress(LookupError, ValueError):
        found = at(value, elements)
        is_like = is_array(found) and not is_jax_array(found) and isinstance(view, type(found))
        return is_like and form(found) == form(view)
    return False
