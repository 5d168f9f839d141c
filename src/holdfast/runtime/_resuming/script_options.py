"""The options of a script's optimizers, as it has set them: what those of a later script are compared with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, final

from .hyperparameters import Options, check_override, is_optimizer, is_scheduler, options_of, settle


@final
class ScriptOptions:
    """Of each group of each optimizer among live `objects`, in order; groups that are added later included.

    Attributes:
        kept: after `settle`, a sentence for each that the script has changed and the checkpoint won over.
    """

    def __init__(self, objects: Mapping[str, Any]) -> None:
        self._objects = objects
        self._options: list[Mapping[str, Any]] = [*options_of(self._optimizers)]
        self.kept: list[str] = []

    @property
    def _optimizers(self) -> list[Any]:
        return [each for each in self._objects.values() if is_optimizer(each)]

    def check_override(self, override: Sequence[str]) -> None:
        """UsageError if `override` names an option that no optimizer has."""
        check_override(override, self._options)

    def read(self) -> None:
        """The script has set up all objects anew."""
        self._options = [*options_of(self._optimizers)]

    def get_state(self) -> Sequence[Mapping[str, Any]]:
        now = options_of(self._optimizers)
        if len(now) != len(self._options):  # groups were added to the last optimizer
            self._options = [*self._options[: len(now)], *now[len(self._options) :]]
        return self._options

    def settle(self, then: Options, override: Sequence[str]) -> list[str]:
        """The objects were restored, of a script that had set `then`: returns a sentence for each option for which this one's won."""
        if len(then) != len(self._options):  # strict=False has let another optimizer pass
            return []
        schedulers = [each for each in self._objects.values() if is_scheduler(each)]
        followed, overridden, self.kept = settle(
            self._optimizers, schedulers, then=then, script=self._options, override=override
        )
        self._options = [*followed]
        return overridden

    def replaced(self, name: str, value: Any) -> None:
        """Put `value` in the place of the object of this name: what a new optimizer says of its options holds from now on."""
        known = self.get_state()
        before = [*self._objects][: [*self._objects].index(name)]
        start = sum(map(_groups_of, [self._objects[each] for each in before]))
        end = start + _groups_of(self._objects[name])
        if is_optimizer(value):
            self._options = [*known[:start], *options_of([value]), *known[end:]]


def _groups_of(value: Any) -> int:
    return len(value.param_groups) if is_optimizer(value) else 0
