"""What a script sets before its framework trains, compared at a resume with what it had set when the run began."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from typing import Any, final

from ...runtime import said_of

logger = logging.getLogger("holdfast")


def options_by_name(optimizers: Mapping[str, Any]) -> dict[str, Any]:
    """The plain options of torch's optimizers by label; those of the first group of the one without a label by their own names."""
    found: dict[str, Any] = {}
    for label, optimizer in optimizers.items():
        for index, group in enumerate(optimizer.param_groups):
            owner = ", ".join([label] * bool(label) + [f"group {index}"] * bool(index))
            where = f" of {owner}" if owner else ""
            base = {"lr": group["initial_lr"]} if "initial_lr" in group else {}  # what a schedule began with
            for name, value in {**group, **base}.items():
                if name != "initial_lr" and is_plain(value):
                    found[f"{name}{where}"] = list(value) if isinstance(value, tuple) else value
    return found


def is_plain(value: Any) -> bool:
    """Whether a setting can be saved and compared as it is."""
    if isinstance(value, tuple):
        return all(map(is_plain, value))
    return value is None or isinstance(value, bool | int | float | str)


@final
class ScriptSettings:
    """Settings by name, as plain data.

    Args:
        now: what the script says.
        restored: those of which the checkpoint's value is used; the script's is used of all others.
        advice: how to have the script's used.

    Attributes:
        followed: what the run follows, to be saved: of what is restored, what the script said when the run began.
        kept: after `compare`, a sentence for each that the script has changed and of which the checkpoint's value is used.
    """

    def __init__(self, now: Mapping[str, Any], restored: Collection[str] = (), *, advice: str = "") -> None:
        self.followed, self.kept = dict(now), list[str]()
        self._advice = advice
        self._now, self._restored = dict(now), restored

    def compare(self, then: Mapping[str, Any] | None) -> list[str]:
        """A sentence for each that the script has changed and that is in force; of the others a warning is given.

        `then`: as it was saved; None by a version that did not.
        """
        changed = [
            (name, then[name], value)
            for name, value in self._now.items()
            if then is not None and name in then and then[name] != value
        ]
        kept = [each for each in changed if each[0] in self._restored]
        # What the script does not say this time, as a schedule that a callback makes later, is as it was.
        self.followed = {**(then or {}), **self.followed, **{name: was for name, was, _ in kept}}
        self.kept = [said_of(*each) for each in kept]
        if kept:
            said = "; ".join(self.kept)
            logger.warning("the checkpoint's hyperparameters are used: %s%s", said, self._advice)
        return [
            f"{name} was {was} and is now {value}"
            for name, was, value in changed
            if (name, was, value) not in kept
        ]
