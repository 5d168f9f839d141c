"""What a script's variables and random states are at each hook, in a file: two lives of it can be compared by name."""

from __future__ import annotations

import json
import os
import reprlib
from collections.abc import Mapping, Sequence, Set
from dataclasses import asdict, dataclass, replace
from types import FunctionType, ModuleType
from typing import Any, Final

from .. import rng, state
from ..errors import HoldfastError
from ..records import Moment
from ..variables import is_own_class, live_names, scopes

_PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
_DEEPEST: Final = 3
_MANY_ITEMS: Final = 10_000


@dataclass(frozen=True, slots=True)
class Look:
    """One thing at one hook.

    Attributes:
        kind: the name of its class.
        digest: of what it holds; None if that cannot be known.
        shown: it, in short.
        is_iterator: whether it is one.
        is_array: whether it is an array or a tensor, or a tuple of them.
        has_state: whether it says itself what its state is.
        is_live: whether it can still be read before it is written; of others only integers are looked at.
    """

    kind: str
    digest: str | None
    shown: str = ""
    is_iterator: bool = False
    is_array: bool = False
    has_state: bool = False
    is_live: bool = True


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

    def note(self, number: int, moment: Moment) -> None:
        things = {**_random_states(), **_variables()}
        line = {
            "number": number,
            "moment": {name: getattr(moment, name) for name in ("hook", "phase", "epoch", "batch", "step")},
            "things": {name: asdict(look) for name, look in things.items()},
        }
        with open(self._path, "a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")


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


def _variables() -> dict[str, Look]:
    """Those of the script's functions on the stack, from the innermost outwards, and of modules, that can still be read."""
    found: dict[str, Look] = {}
    known: set[int] = set()
    for scope in scopes():
        live = None if scope.frame is None else live_names(scope.frame)
        for name, value in scope.variables().items():
            if live is None or name in live:
                _look_into(name, value, 0, found, known)
            elif type(value) is int and name not in found:
                found[name] = replace(_look(name, value), is_live=False)
    return found


def _look_into(name: str, value: Any, depth: int, found: dict[str, Look], known: set[int]) -> None:
    if name in found or name.rpartition(".")[2].startswith("__") or _is_of_no_interest(value):
        return
    look = _look(name, value)
    attributes = _own_attributes(value) if look.digest is None and depth < _DEEPEST else None
    if attributes is None:
        found[name] = look
    elif id(value) not in known:
        known.add(id(value))
        if look.is_iterator:
            found[name] = look
        for attribute, part in attributes.items():
            _look_into(f"{name}.{attribute}", part, depth + 1, found, known)


def _look(name: str, value: Any) -> Look:
    kind = type(value)
    digest = None
    if not (isinstance(value, Sequence | Mapping | Set) and len(value) > _MANY_ITEMS):
        try:
            digest = state.digest(state.capture({name: value}))
        except (HoldfastError, RecursionError):
            pass
        except Exception:  # a class of the script's may do anything when its state is read
            pass
    return Look(
        kind.__name__,
        digest,
        reprlib.repr(value) if isinstance(value, int | float | str | bool | None) else "",
        is_iterator=hasattr(kind, "__next__"),
        is_array=_holds_arrays(value),
        has_state=hasattr(kind, "state_dict") or hasattr(kind, "get_state"),
    )


def _holds_arrays(value: Any) -> bool:
    """Whether it is an array or a tensor, or a tuple that begins with one, as hidden states are."""
    return (
        _holds_arrays(value[0]) if isinstance(value, tuple) and value else hasattr(type(value), "__array__")
    )


def _own_attributes(value: Any) -> dict[str, Any] | None:
    """The attributes of an object of the script's own classes; None for any other."""
    return dict(vars(value)) if is_own_class(type(value)) and hasattr(value, "__dict__") else None


def _is_of_no_interest(value: Any) -> bool:
    if (
        isinstance(value, ModuleType | FunctionType | type)
        or type(value).__module__.partition(".")[0] == "holdfast"
    ):
        return True
    code = getattr(value, "gi_code", None)  # a loop of ours
    return code is not None and code.co_filename.startswith(_PACKAGE)
