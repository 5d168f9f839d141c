"""At a resume: places in containers at which nothing came, since an object that was there cannot be made again."""

from __future__ import annotations

from itertools import takewhile
from typing import Any

from .._frames import Scope
from .._kinds import values_of
from .._saved import Saved
from .._walk import Walk
from .making import NOTHING_YET
from .structure import CONTAINERS_MADE


def let_go_of_places(saved: Saved, scopes: list[Scope], walk: Walk, *, is_last: bool) -> list[str]:
    """Take the places at which nothing came out of the containers that were put back; returns which containers these are.

    Nothing of ours is left in them for the script to find, not even while it prepares an inner loop (unless `is_last`).
    """
    found: list[str] = []
    for scope in scopes:
        keys = [
            path.removeprefix(f"{scope.name}/")
            for path in saved.facts.held
            if path.startswith(f"{scope.name}/")
        ]
        roots = {key.partition(".")[0] for key in keys}
        there = {name: each for name, each in scope.variables().items() if name in roots}
        by_key = {slot.key: slot for slot in walk.slots(scope, there)}
        for key in sorted(by_key.keys() & {*keys}):
            slot = by_key[key]
            if type(slot.value) in CONTAINERS_MADE.values() and _has_places_left(slot.value):
                found.append(f"{scope.name}/{key}")
                if (kept := _without_places_left(slot.value, is_last=is_last)) is not slot.value:
                    slot.put(kept)
    return found


def _has_places_left(value: Any) -> bool:
    """Whether something that was to be put into a container has not come."""
    return any(each is NOTHING_YET for each in values_of(value))


def _without_places_left(live: Any, *, is_last: bool) -> Any:
    """The container without the places at which nothing was put: the same one, but for a tuple.

    Unless `is_last`, it ends at the first of them: what the script adds before the inner loop belongs there.
    """
    if isinstance(live, dict):
        for key in [key for key, each in live.items() if each is NOTHING_YET]:
            del live[key]
        return live
    kept = [each for each in live if each is not NOTHING_YET]
    if not is_last:
        kept = list(takewhile(lambda each: each is not NOTHING_YET, live))
    if isinstance(live, tuple):
        return tuple(kept)
    live.clear()
    live.extend(kept)
    return live
