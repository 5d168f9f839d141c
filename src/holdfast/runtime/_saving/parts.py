"""What a checkpoint of a loop holds, by name: its objects, the script's variables, and what else decides what comes next."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping, Sequence
from typing import Any, final

from blake3 import blake3

from ... import rng, state
from ...policy import Checkpointing
from ...records import RESERVED, VARIABLES
from ...variables import Variables
from .._resuming.expected import Ahead, fingerprint_of, stream_digests, streams_used
from .._resuming.script_options import ScriptOptions
from .._resuming.script_values import ScriptValues
from .._resuming.ties import tie, ties
from .._table import Table
from .._together.ranks import ALONE
from .growth import Growth
from .values import Values


@final
class Parts:
    """The parts of one loop, live; see `Loop` for the arguments.

    Attributes:
        objects: by name; a value that is not changed in place is replaced here.
        reserved: names that no object can have.
        run: the run's id.
        results: what was logged.
        options: of the optimizers among the objects.
        growth, script: from `begin` on: what cannot be taken back later, and plain data that training never changes.
        values: those that the script sets by name.
    """

    def __init__(
        self,
        objects: Mapping[str, Any],
        label: str,
        policy: Checkpointing,
        position: Callable[[], Mapping[str, Any]],
        lacking: Callable[[], Sequence[str]],
        variables: Variables | None,
        values: Values,
        ahead: Callable[[], Ahead] = Ahead,
    ) -> None:
        self.ranks = ALONE
        self.resume_noted: Callable[[], Mapping[str, Any] | None] = lambda: None
        self._ahead = ahead
        self.reserved = (*RESERVED, *([] if variables is None else [VARIABLES]))
        self.objects = state.named(objects, reserved=self.reserved)
        self.label, self.variables, self.values = label, variables, values
        self.run = secrets.token_hex(16)
        self.results = Table()
        self.options = ScriptOptions(self.objects)
        self.growth: Growth | None = None
        self.script: ScriptValues | None = None
        self._policy, self._position, self._lacking = policy, position, lacking
        self._streams_at_start = stream_digests(rng.capture_state())

    @property
    def named(self) -> dict[str, Any]:
        """The objects, and the values that the script has set."""
        return {**self.objects, **self.values.live}

    def is_ignored(self, variable: str) -> bool:
        """Whether the script has said to leave this variable alone."""
        return self.variables is not None and self.variables.is_ignored(variable)

    def begin(self) -> None:
        """The script has made its objects: what is plain data in them, and how large they are, is what it says."""
        self.growth, self.script = Growth(self.objects, self._policy.exclude), ScriptValues(self.objects)

    def take(self, lacking: Sequence[str] = ()) -> dict[str, Any]:
        """All of it; `lacking`: what else no resume from it has, a sentence each."""
        if self.growth is not None:
            self.growth.check(self.objects)
        variables, facts = ({}, {}) if self.variables is None else self.variables.capture()
        about = self.about_run(lacking) | ({"variables": facts} if facts else {})
        own = self.ranks.own
        # Of several ranks each may have other variables, and other values, than the others.
        has_variables = bool(variables) or self.ranks.are_several
        return {
            **state.named(self.objects, reserved=self.reserved),
            **{name: own(each) for name, each in self.values.live.items()},
            **({VARIABLES: own(variables)} if has_variables else {}),
            "run": own(about | self._of_rank() if self.ranks.are_several else about),
            "results": own(self.results.get_state()),
            "random": own(rng.capture_state()),
        }

    def _of_rank(self) -> dict[str, Any]:
        """What the record says where there is one process."""
        noted = self.resume_noted()
        return {"next": fingerprint_of(self._ahead()), **({} if noted is None else {"resume": noted})}

    def about_run(self, lacking: Sequence[str] = ()) -> dict[str, Any]:
        return {
            "id": self.run,
            "label": self.label,
            "position": self._position(),
            "counters": self._policy.get_counters(),
            "streams_at_start": self._streams_at_start,
            "options": self.options.get_state(),
            **({"given": self.script.followed} if self.script is not None and self.script.followed else {}),
            **({"tied": tied} if (tied := ties(self.objects)) else {}),
            **({"lacking": found} if (found := [*self._lacking(), *lacking]) else {}),
            **({"values": values} if (values := self.values.facts()) else {}),
        }

    def set_state(self, saved: Mapping[str, Any], run: str) -> None:
        """What the loop itself needs of a checkpoint; `run`: of a fork another than was saved."""
        self.run = run
        tie(self.objects, saved["run"].get("tied"))
        self._streams_at_start = dict(saved["run"]["streams_at_start"])
        self.results.set_state(saved["results"])

    def replace(self, name: str, value: Any) -> None:
        """Put `value` in the place of the object of this name."""
        self.options.replaced(name, value)
        self.objects[name] = value

    def digest(self) -> str:
        """BLAKE3 of what two runs have in common at the same place: objects, position, results, streams drawn from."""
        common = {
            **self.named,
            "position": self._position(),
            "results": self.results.get_state(),
            "random": streams_used(rng.capture_state(), self._streams_at_start),
        }
        if not self.ranks.are_several:
            return state.digest(state.capture(common))
        each = self.ranks.each(lambda: state.digest(state.look(common, with_boxes=True)))
        return blake3("".join(each).encode()).hexdigest()
