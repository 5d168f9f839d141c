"""`attributes`: an object that has no protocol, handed over by its attributes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, final

from ..errors import UsageError


@final
class Attributes:
    """What `attributes` returns; see there."""

    __slots__ = ("leave", "of")

    def __init__(self, of: Any, leave: Sequence[str]) -> None:
        self.of, self.leave = of, tuple(leave)

    def __repr__(self) -> str:
        return f"attributes({self.of!r})"


def attributes(of: Any, *, leave: str | Sequence[str] = ()) -> Attributes:
    """Hand over an object by its attributes: an environment, a replay buffer, an agent of a class that knows nothing of it.

        with holdfast.Run("runs/dqn", {"env": holdfast.attributes(env), "model": model}) as run:

    Saved are arrays, plain data, and whatever else Holdfast takes, in containers too; of objects of other classes again
    the attributes, at any depth. A restore puts them back into the live object, which has to be of the same class:
    arrays of the same shape in place, everything else as new values. Nothing is pickled, and no code is run but
    what sets attributes. What the object keeps elsewhere (in a library of C, a process, a file) is unknown to its attributes.

    Args:
        of: the object, of a class written in Python.
        leave: patterns of attributes that stay as the script has made them, such as `"spec"` or `"**/logger"`: names, below
            one another with `/` (see `paths.matches`).

    Raises:
        UsageError: it is a class, a function, plain data, or its class keeps state that is no attribute.
        UnsupportedStateError: (when the run is entered, or it is saved) an attribute cannot be saved; it names which.
    """
    from .adapters.attributes import why_not  # which needs the registry

    if (why := why_not(of)) is not None:
        raise UsageError(f"attributes() takes an object apart, and {why}.")
    patterns = (leave,) if isinstance(leave, str) else tuple(leave)
    if not all(isinstance(each, str) and each for each in patterns):
        raise UsageError(f"leave= must be patterns of attributes, such as 'spec', not {leave!r}.")
    return Attributes(of, patterns)
