"""The values that a script sets by name in its run (`run["best"] = best`): saved with the objects, and there after a resume.

Until the script has come to where the checkpoint was, it runs what it ran before: what it sets there is a start value,
and what was saved takes its place. A start value that was only changed in place since then is filled in place again;
one that was replaced by another is replaced by a new one.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, final

from ... import state
from ...bundle import Bundle
from ...errors import StateMismatchError, UnsupportedStateError, UsageError
from ...records import RESERVED, VARIABLES, Leaf, Node, leaves_and_aliases
from ...variables import device_of, on_device

OUTSIDE: Final = "outside"
"""The place before and between the loops: a script that resumes comes through it once more."""
_LATER: Final = "later"
"""A place in the middle of a loop, where it does not."""


@final
@dataclass(frozen=True)
class Saved:
    """What a checkpoint holds of values.

    Attributes:
        names: of all values.
        facts, snapshot: of those that were not left out of it.
        differences: what a resume cannot bring back as it was, a sentence each.
    """

    names: Collection[str]
    facts: Mapping[str, Mapping[str, Any]]
    snapshot: state.MemorySnapshot
    differences: list[str]


@final
class Values:
    """By name.

    Args:
        here: called for the name of the place at which the script is.
        again: called for the places that it would come through once more, if it resumed from here.

    Attributes:
        live: the values as they are now.
    """

    def __init__(
        self,
        here: Callable[[], str | None] = lambda: None,
        again: Callable[[], Collection[str]] = tuple[str],
    ) -> None:
        self.live: dict[str, Any] = {}
        self._here, self._again = here, again
        self._set_at: dict[str, str] = {}
        self._pending: dict[str, Mapping[str, Any]] = {}  # what was saved and is not settled yet: facts
        self._saved: state.MemorySnapshot
        self._ours: set[str] = set()  # whose live object was made here
        self._changes_win = False

    def set(self, name: str, value: Any) -> None:
        """Set a value, or before the script is where the checkpoint was: give it a start value.

        Raises:
            UsageError: there can be no such name.
            UnsupportedStateError: the value cannot be saved, or comes back only into an object that is there.
        """
        if not isinstance(name, str) or not name or name in (*RESERVED, VARIABLES):
            raise UsageError(f"a run can have no value called {name!r}: choose another name.")
        _check(name, value)
        self.live[name], self._set_at[name] = value, self._here() or _LATER
        self._ours.discard(name)
        if name in self._pending and not self._changes_win:
            self._put_back(name)

    @property
    def in_place(self) -> dict[str, Any]:
        """Those that a resume from here would fill in place."""
        again = self._again()
        return {name: value for name, value in self.live.items() if self._set_at.get(name) in again}

    def facts(self) -> dict[str, dict[str, Any]]:
        """Plain data about each value, for a checkpoint."""
        in_place = self.in_place
        facts: dict[str, dict[str, Any]] = {name: {"in_place": name in in_place} for name in self.live}
        for name, value in self.live.items():
            if (device := device_of(value)) is not None:
                facts[name]["device"] = device
        return facts

    # --- a resume ---------------------------------------------------------------------------------

    def read(self, opened: Bundle, tree: Mapping[str, Node], facts: Any, objects: Collection[str]) -> Saved:
        """What the `tree` of a checkpoint holds of values that are not among the `objects` now.

        Raises:
            DamagedError: bytes are not what was saved.
        """
        known = facts if isinstance(facts, dict) else {}
        names = [name for name in known if name in tree and name not in objects]
        left_out = [name for name in names if any(state.all_left_out({"": tree[name]}))]
        nodes: dict[Any, Node] = {name: tree[name] for name in names if name not in left_out}
        made = {
            name: on_device(value, str(device)) if (device := known[name].get("device")) else value
            for name, value in state.rebuild(opened, nodes).items()
        }
        differences = [
            *(f"the value {name!r} is not in the checkpoint, and was left as it was" for name in left_out),
            *(
                f"the value {name!r} shared memory with others of the run, and is a copy now: set it to a clone"
                for name, node in nodes.items()
                if _leads_out(node)
            ),
        ]
        return Saved(names, {name: known[name] for name in nodes}, state.capture(made), differences)

    def take(self, saved: Saved, *, is_rollback: bool) -> None:
        """The run resumes from there."""
        if is_rollback:  # then there were none of these yet; those from before the loop are not set again
            for name in self.live.keys() - {*saved.names}:
                if self._set_at.get(name) == OUTSIDE:
                    saved.differences.append(f"the value {name!r} is not in that checkpoint, and stays")
                else:
                    del self.live[name]
        self._saved, self._pending, self._ours = saved.snapshot, dict(saved.facts), set()
        for name in self._pending:
            self._put_back(name)

    def settle(self) -> None:
        """The script is where the checkpoint was: the values are as they were then, and from now on its own."""
        for name in self._pending:
            self._put_back(name)
        self._pending = {}
        self._saved = state.capture({})

    @contextmanager
    def changes_win(self) -> Iterator[None]:
        """What is done inside, after a rollback, is not undone when the script is where the checkpoint was."""
        before = {name: _digest(self.live[name]) for name in self._pending}
        self._changes_win = True
        try:
            yield
        finally:
            self._changes_win = False
        for name, digest in before.items():
            if _digest(self.live[name]) != digest:
                del self._pending[name]

    def _put_back(self, name: str) -> None:
        is_filled = self._pending[name].get("in_place", False) or name in self._ours
        if name in self.live and is_filled:
            self.live[name] = self._filled(name, self.live[name])
        else:
            self.live[name], self._set_at[name] = self._new(name), _LATER
            self._ours.add(name)

    def _filled(self, name: str, live: Any) -> Any:
        try:
            return state.restore(self._saved, {name: live}).value[name]
        except StateMismatchError:
            new = self._new(name)
        match live, new:
            case list() | deque(), list() | deque():
                live.clear()
                live.extend(new)
            case (dict(), dict()) | (set(), set()):
                live.clear()
                live.update(new)
            case _:
                return new
        return live

    def _new(self, name: str) -> Any:
        tree = self._saved.tree
        assert isinstance(tree, dict)
        value, device = state.rebuild(self._saved, tree[name]), self._pending[name].get("device")
        return on_device(value, str(device)) if device else value


def _check(name: str, value: Any) -> None:
    tree = state.look({name: value}).tree
    lost = next(state.unmakeable(tree), None)
    if lost is not None:
        raise UnsupportedStateError(
            name,
            lost.type,
            f"It comes back only into an object that is there: hand it over in the state, as Run(…, {{{name!r}: …}}).",
        )


def _digest(value: Any) -> str:
    return state.digest(state.capture(value))


def _leads_out(node: Node) -> bool:
    found = [*leaves_and_aliases(node)]
    own = {each.path for each in found if isinstance(each, Leaf)}
    return any(each.path not in own for each in found)
