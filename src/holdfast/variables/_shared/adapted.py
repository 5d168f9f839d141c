"""Objects of libraries that Holdfast knows how to save, and that have no protocol of their own: estimators and boosters."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any, Final

from ... import state
from ...errors import UnsupportedStateError
from ...records import Node, Source

_PACKAGES: Final = frozenset({"catboost", "lightgbm", "sklearn", "xgboost"})


class Adapted:
    """One of them, as an object with a protocol.

    Attributes:
        looks: what is saved of it, as a text without the contents of arrays.
        arrays: these.
        is_complete: whether what is saved of it says all, so that no live one is needed to restore it.
    """

    def __init__(self, held: Any, looks: str, arrays: list[Any], *, is_complete: bool) -> None:
        self.held, self.looks, self.arrays, self.is_complete = held, looks, arrays, is_complete

    @classmethod
    def of(cls, value: Any) -> Adapted | None:
        """None if it is something else, or cannot be saved as it is now."""
        kind = type(value)
        if kind.__module__.partition(".")[0] not in _PACKAGES or not state.is_known(kind):
            return None
        walk = state.Walk()
        try:
            node = walk.run(value, "")
        except UnsupportedStateError:
            return None
        is_complete = next(iter(state.unmakeable(node)), None) is None
        return cls(value, repr(node), [live.owner for _, live in walk.arrays], is_complete=is_complete)

    def state_dict(self) -> Any:
        """The object itself, of which its adapter saves what it takes."""
        return self.held

    def load_state_dict(self, state: Any) -> None:
        raise NotImplementedError  # `restored` does it

    def restored(self, source: Source, node: Node, *, is_new: bool) -> Any:
        """It with what was saved; a copy of it if `is_new`, for the object that was saved was another one than at the beginning."""
        into: Mapping[str, Any] = {"": copy.deepcopy(self.held) if is_new else self.held}
        return state.restore(source, into, tree={"": node}, verify="streaming").value[""]
