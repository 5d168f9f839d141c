"""What a script draws between `epochs` and `batches`: a resume within the epoch runs that code again, and it is to draw the same."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, final

from ... import rng

_KEY: Final = "random_before_batches"


@final
class Preparing:
    """The global random states from before that code; kept only where it has drawn."""

    def __init__(self) -> None:
        self._before: rng.RandomState | None = None

    def begin(self, *, is_again: bool) -> None:
        """The code begins; `is_again`: at a resume."""
        if not is_again:
            self._before = rng.capture_state()
        elif self._before is not None:
            rng.restore_state(self._before)

    def end(self) -> None:
        """The code has run."""
        if self._before is not None and rng.draws(self._before) == rng.draws():
            self._before = None

    def get_state(self) -> dict[str, Any]:
        return {} if self._before is None else {_KEY: self._before}

    def set_state(self, saved: Mapping[str, Any]) -> None:
        self._before = saved.get(_KEY)
