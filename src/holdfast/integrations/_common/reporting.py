"""What the callback of a framework tells of the loop that it holds, once its training has begun."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...errors import UsageError
from ...runtime import Accounting, Loop, ResumeReport, Table
from .script_settings import ScriptSettings


class Reporting:
    """For a callback to inherit: the loop is in `_loop`, None before; `_begins` says in words when it is there."""

    _loop: Loop | None
    _begins: str

    @property
    def last_resume(self) -> ResumeReport | None:
        """From where it resumed, and how exactly; None if from scratch, and where there is no loop."""
        return None if self._loop is None else self._loop.last_resume

    @property
    def results(self) -> Table:
        """What the trainer has logged, without times."""
        return self._known.results

    @property
    def accounting(self) -> Accounting:
        """What saving has cost so far."""
        return self._known.accounting

    def state_digest(self) -> str:
        """BLAKE3 of what two runs have in common at the same place: all that is trained, place, results, random states."""
        return self._known.state_digest()

    def _compare_settings(self, settings: ScriptSettings, then: Mapping[str, Any] | None) -> list[str]:
        """A sentence for each that the script has changed and that is in force; of the others the verdict tells by itself."""
        found = settings.compare(then)
        self._known.keep(settings.kept)
        return found

    @property
    def _known(self) -> Loop:
        if self._loop is None:
            raise UsageError(f"there is nothing yet: ask after {self._begins}")
        return self._loop
