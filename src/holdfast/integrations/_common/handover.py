"""What a framework puts into its own checkpoints, and takes back itself, as parts of one of ours."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, final

LIMITS = {
    "snapshot='lazy'": "what the framework hands over is copied at once, because a framework does not say when it will change; leave it out",
    "exclude": "the framework loads its own state as one unit, and could not resume from a part of it; leave it out",
    "thin_after": "optimizers are plain arrays among others in what the framework hands over; keep fewer by "
    "max_to_keep or keep",
}
"""What of a policy cannot be done where one of these is what is saved, and why; see `checkpointing.Limits`."""


@final
class Handover:
    """Live parts by name at a save; after a restore new values, for the framework to load.

    A restore checks every byte, and touches nothing live: what is damaged never gets as far as the framework.

    Args:
        names: of the parts, each of which is there at every save.
        take: the live parts, which may share memory with what is trained.

    Attributes:
        given: what the last restore has made, by name; None before.
    """

    def __init__(self, names: Sequence[str], take: Callable[[], Mapping[str, Any]]) -> None:
        self._names, self._take = tuple(names), take
        self._is_expecting = False
        self.given: Mapping[str, Any] | None = None

    @contextmanager
    def expecting(self) -> Iterator[None]:
        """Inside the block any saved value is accepted: none takes the place of a live one."""
        self._is_expecting = True
        try:
            yield
        finally:
            self._is_expecting = False

    def state_parts(self) -> Mapping[str, Any]:
        return dict.fromkeys(self._names) if self._is_expecting else self._take()

    def adopt_parts(self, parts: Mapping[str, Any]) -> None:
        self.given = parts
