"""What has grown since the run began, and which no script that is started again could take back: said once, at the save."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any, final

from ... import state
from ...errors import UnsupportedStateError

logger = logging.getLogger("holdfast")

_CONTAINERS = (dict, list, tuple, type(None), str, int, float)


@final
class Growth:
    """Compares containers of the script's among the objects with what they were when the run began."""

    def __init__(self, objects: Mapping[str, Any], exclude: Sequence[str]) -> None:
        self._exclude = exclude
        self._start = self._tree(objects)
        self._is_said = False

    def check(self, objects: Mapping[str, Any]) -> None:
        """Warn, once, of what will not fit.

        Raises:
            UnsupportedStateError: a framework hands over something that only a live object could take back.
        """
        if self._is_said:
            return
        for name, each in objects.items():
            if hasattr(type(each), "adopt_parts"):
                self._is_said = True  # what it hands over is of the same kinds each time
                _check_handed_over(name, each)
        now = self._tree(objects)
        found = [
            sentence
            for name, node in now.items()
            if name in self._start
            for sentence in state.unfit(self._start[name], node, name)
        ]
        if found:
            self._is_said = True
            logger.warning(
                "this script, started again, cannot resume from what is saved now unless it builds its objects so "
                "before the run: %s. Where that depends on the checkpoint, Resume(on_structure=…) is the place.",
                "; ".join(found[:3]),
            )

    def _tree(self, objects: Mapping[str, Any]) -> dict[str, Any]:
        containers = {name: each for name, each in objects.items() if isinstance(each, _CONTAINERS)}
        tree = state.look(containers, exclude=self._exclude, with_boxes=True).tree
        state.meet_own_types(tree)
        assert isinstance(tree, dict)
        return tree


def _check_handed_over(name: str, handed: Any) -> None:
    tree = state.look({name: handed}, with_boxes=True).tree
    state.meet_own_types(tree)
    for path, node in state.entries(tree):
        for lost in state.unmakeable(node) if path != name else ():
            hint = "Nothing live could take it back: leave it out of what the framework saves (`save_hyperparameters(ignore=…)`)."
            raise UnsupportedStateError(path, lost.type, hint)
