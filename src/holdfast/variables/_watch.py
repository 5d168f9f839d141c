"""`Variables`: the script's own variables as a part of its run.

The iterators of a run are called from the frames in which the script's variables live. Those that have changed since the
loop began are saved with each checkpoint, and put back before the first resumed step.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from typing import Any, Literal, TypeVar, final

from ..errors import UsageError
from ..records import Node, Source
from . import _guard
from ._baseline import Baseline
from ._capture import Capture
from ._frames import Scope, scopes
from ._handed import Handed
from ._liveness import live_names
from ._marks import Marks
from ._names import is_left_to_script
from ._put_back import put_back
from ._saved import Facts, Saved
from ._turns import Turns
from ._walk import Walk

logger = logging.getLogger("holdfast")

Item = TypeVar("Item")
Mode = Literal["save", "watch", "off"]
MODES = ("save", "watch", "off")


@final
class Variables:
    """The variables of the script that has a run.

    Args:
        mode: "save": they are saved and put back; "watch": those that would be are only named; "off": neither.
        others: called for what else belongs to the run: itself, its data.

    Raises:
        UsageError: there is no such mode.
    """

    def __init__(
        self, mode: Mode, objects: Callable[[], Mapping[str, Any]], others: Callable[[], Iterable[Any]]
    ) -> None:
        if mode not in MODES:
            raise UsageError(f'variables is "save", "watch" or "off", not {mode!r}.')
        self.mode = mode
        self.came_back: list[str] = []
        self._objects, self._others = objects, others
        self._ignored: list[str] = []
        self._baselines: dict[tuple[str, int], Baseline] = {}
        self._outer: set[tuple[str, int]] = set()
        self._sticky: set[str] = set()  # what has changed once is saved from then on
        self._marks = Marks()
        self._saved: Saved | None = None  # to be put back
        self._failed: dict[str, str] = {}
        self._told: set[str] = set()
        self._is_rollback = False

    def ignore(self, patterns: Iterable[str]) -> None:
        """Leave the variables that a pattern matches to the script."""
        for pattern in patterns:
            if not isinstance(pattern, str) or not pattern:
                raise UsageError(
                    f'ignore takes names of variables, such as "t0" or "timing_*", not {pattern!r}.'
                )
            self._ignored.append(pattern)

    # --- the loop ---------------------------------------------------------------------------------

    def turns(
        self,
        inner: Generator[Item, None, None],
        *,
        is_inner: bool = False,
        is_behind: Callable[[], bool],
        position: Callable[[], int],
    ) -> Iterator[Item]:
        """The items of a run's iterator, for a loop of the script.

        `is_inner`: the loop is within another of the run. `is_behind`: whether a resume is still under way.
        `position`: how many items came before this one.
        """
        if self.mode == "off":
            return inner
        is_resumed = False

        def begin() -> None:
            nonlocal is_resumed
            is_resumed = self._saved is not None
            self._begin(is_inner=is_inner)
            if not is_behind():
                self.put_back()

        def entered() -> int:
            if is_behind():
                self.put_back(is_last=False)
            return position() if is_resumed else 0

        return Turns(inner, begin, entered)

    def _begin(self, *, is_inner: bool) -> None:
        with _guard.guarded("looked at"):
            here = scopes()
            walk = Walk(self._handed())
            for scope in here:
                variables = scope.variables()
                known = self._baselines.get(scope.identity)
                if known is None or (is_inner and scope.identity not in self._outer):
                    known = self._baselines[scope.identity] = Baseline(set(variables))
                    wanted = variables
                elif is_inner:
                    known.forget_inner()
                    wanted = {name: each for name, each in variables.items() if name not in known.names}
                else:
                    wanted = {name: each for name, each in variables.items() if name not in known.names}
                    known.names |= {*variables}
                known.take(scope, walk.slots(scope, wanted), self._marks)
            if not is_inner:
                self._outer = {scope.identity for scope in here}

    # --- a save -----------------------------------------------------------------------------------

    def capture(self) -> tuple[dict[str, dict[str, Any]], dict[str, Any]]:
        """What a checkpoint holds of the variables: live values by scope and key, and facts about them."""
        if self.mode == "off" or not self._baselines:
            return {}, {}
        with _guard.guarded("saved"):
            taking = Capture(self._marks, self._sticky, keeps=self.mode == "save")
            walk = Walk(self._handed())
            for scope in scopes():
                baseline = self._baselines.get(scope.identity)
                if baseline is not None:
                    names = self._names_in(scope, baseline)
                    taking.add(
                        scope,
                        baseline,
                        (
                            slot
                            for slot in walk.slots(scope, names)
                            if not is_left_to_script(slot.key, self._ignored)
                        ),
                    )
            self._tell(taking.facts)
            return taking.values, taking.facts.as_data()
        return {}, {}

    def _names_in(self, scope: Scope, baseline: Baseline) -> dict[str, Any]:
        """The variables that can still be read; those of before the loop where that cannot be told."""
        live = None if scope.frame is None else live_names(scope.frame)
        return {
            name: value
            for name, value in scope.variables().items()
            if (name in live if live is not None else name in baseline.names)
        }

    def _tell(self, facts: Facts) -> None:
        for key, sentence in facts.unsaved.items():
            if key not in self._told:
                self._told.add(key)
                logger.warning("not saved: %s", sentence)
        for name in self._marks.sampled - self._told:
            self._told.add(name)
            logger.info(
                "%s is too large to be looked at in full at each save: it is compared at samples", name
            )

    def _handed(self) -> Handed:
        return Handed(self._objects(), [self, *self._others()])

    # --- a resume ---------------------------------------------------------------------------------

    def take(self, source: Source, tree: Mapping[str, Node], facts: Any) -> list[str]:
        """Keep what a checkpoint holds, to be put back; returns the names of what it could not save."""
        self._saved = None
        if self.mode == "off":
            return []
        saved = Saved(source, tree, facts)
        if self.mode == "save":
            self._saved, self._failed = saved, {}
            self._is_rollback = bool(self._baselines)
            self._sticky = saved.paths
        return list(saved.facts.unsaved)

    def put_back(self, *, is_last: bool = True) -> None:
        """Put back what was saved; `is_last`: the loop is where the checkpoint was, so this is done."""
        saved = self._saved
        if saved is None:
            return
        with _guard.guarded("put back"):
            here = scopes()
            done, failed = put_back(saved, here, self._handed())
            self.came_back = [*dict.fromkeys([*self.came_back, *(path.partition("/")[2] for path in done)])]
            self._failed = {path: why for path, why in {**self._failed, **failed}.items() if path not in done}
        if is_last:
            self._saved = None

    @property
    def differences(self) -> list[str]:
        """What could not be put back, a sentence each."""
        return [
            f"the variable {path.partition('/')[2]} was saved and could not be put back: {why}"
            for path, why in self._failed.items()
        ]

    def close(self) -> None:
        """Let go of everything."""
        self._baselines, self._saved = {}, None
