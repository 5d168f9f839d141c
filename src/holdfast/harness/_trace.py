"""What a script's variables and random states are at each hook, in a file: two lives of it can be compared by name."""

from __future__ import annotations

import gc
import json
import os
from collections import Counter
from collections.abc import Iterable, Mapping, Set
from dataclasses import asdict, dataclass, replace
from typing import Any, Final
from weakref import ReferenceType, ref

from .. import rng, state
from ..records import Moment
from ..variables import is_ignored_by_a_run, is_own_class, live_names, other_modules, scopes
from ._look import Look, Looks


@dataclass(frozen=True, slots=True)
class Glimpse:
    """All that was seen at one hook, the `number`th that counts or the next one that does not."""

    number: int
    moment: Mapping[str, Any]
    things: Mapping[str, Look]


class Trace:
    """Writes a line per hook."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._only_ones: dict[str, ReferenceType[Any]] | None = None  # looked for once: it takes a while

    def note(self, number: int, moment: Moment) -> None:
        things = {**_random_states(), **self._variables()}
        line = {
            "number": number,
            "moment": {name: getattr(moment, name) for name in ("hook", "phase", "epoch", "batch", "step")},
            "things": {name: asdict(look) for name, look in things.items()},
        }
        with open(self._path, "a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")

    def _variables(self) -> dict[str, Look]:
        """What can still be read of the script: of its functions on the stack, of its modules, its classes, its objects."""
        looks = Looks()
        here = scopes()
        for scope in here:
            live = None if scope.frame is None else live_names(scope.frame)
            for name, value in scope.variables().items():
                if live is None or name in live:
                    looks.add(name, value)
                else:
                    looks.add_spent(name, value)
        others = other_modules(here)
        for module, namespace in others.items():
            for name, value in list(namespace.items()):
                if not looks.has_entered(value):
                    looks.add(f"{module}.{name}", value)
        classes = _classes([*(scope.variables() for scope in here), *others.values()])
        for kind in classes:
            looks.add_class(kind)
        if self._only_ones is None:
            self._only_ones = _only_ones(classes)
        for name, reference in self._only_ones.items():
            value = reference()
            if value is not None and not looks.has_entered(value):
                looks.add(name, value)
        return {
            name: replace(look, is_left=True) if is_ignored_by_a_run(name) else look
            for name, look in looks.found.items()
        }


def read_trace(path: str) -> list[Glimpse]:
    """What a life wrote; a line that a kill has cut short is left out."""
    if not os.path.exists(path):
        return []
    with open(path, encoding="utf-8") as file:
        lines = [line for line in file if line.endswith("\n")]
    return [
        Glimpse(
            found["number"],
            found["moment"],
            {name: Look(**look) for name, look in found["things"].items()},
        )
        for found in map(json.loads, lines)
    ]


RANDOM: Final = "random state "
"""What the names of the global random states begin with."""


def _random_states() -> dict[str, Look]:
    return {
        f"{RANDOM}{name}": Look("random state", state.digest(state.capture(stream)))
        for name, stream in rng.capture_state().items()
    }


def _classes(namespaces: Iterable[Mapping[str, Any]]) -> set[type]:
    """The script's own classes that have a name in one of these."""
    return {
        value
        for namespace in namespaces
        for value in list(namespace.values())
        if isinstance(value, type) and is_own_class(value)
    }


def _only_ones(classes: Set[type]) -> dict[str, ReferenceType[Any]]:
    """The objects that are the only one of their class, by its name: a framework may hold them, and no variable."""
    found = [each for each in gc.get_referrers(*classes) if type(each) in classes] if classes else []
    count = Counter(map(type, found))
    alone = [each for each in found if count[type(each)] == 1 and getattr(type(each), "__weakrefoffset__", 0)]
    return {type(each).__name__: ref(each) for each in alone}
