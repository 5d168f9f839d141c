"""What the callback of a framework tells of the loop that it holds, once its training has begun."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ...errors import UsageError
from ...runtime import Accounting, Loop, ResumeReport, Table
from ...variables import Variables, check_patterns
from .script_settings import ScriptSettings


class Reporting:
    """For a callback to inherit: the loop is in `_loop`, None before; `_begins` says in words when it is there."""

    _loop: Loop | None
    _begins: str
    _variables: Variables | None = None
    _ignored: Sequence[str] = ()

    def ignore(self, *patterns: str) -> None:
        """Leave these variables of the script alone: `ignore("t0", "timing_*", "Logging.rows")`.

        They are neither saved nor named. A pattern means a variable, an attribute, and all that is below it.

        Raises:
            UsageError: a pattern is no text.
        """
        self._ignored = [*self._ignored, *check_patterns(patterns)]
        if self._variables is not None:
            self._variables.ignore(patterns)

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
    def _known_variables(self) -> Variables:
        assert self._variables is not None
        return self._variables

    @property
    def _known(self) -> Loop:
        if self._loop is None:
            raise UsageError(f"there is nothing yet: ask after {self._begins}")
        return self._loop
