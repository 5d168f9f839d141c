"""`Variables`: the script's own variables as a part of its run.

The iterators of a run are called from the frames in which the script's variables live. Those that have changed since the
loop began are saved with each checkpoint, and put back before the first resumed step.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence, Set
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeVar, final
from weakref import WeakSet

from .. import collector, paths, state
from ..errors import UsageError
from ..records import Node, Source
from . import _guard
from ._baseline import Baseline
from ._capture import Capture
from ._frames import Scope, scopes
from ._functions import FunctionScope, scopes_of, scopes_within
from ._handed import Handed
from ._held import Held
from ._kinds import is_rng
from ._liveness import live_names
from ._looks.beside import Beside
from ._looks.clocks import Clocks
from ._looks.handlers import HandlerScope, handlers
from ._made.places_left import let_go_of_places
from ._made.prepared import Prepared
from ._marks import Marks
from ._names import OF_ANOTHER_MODULE, check_patterns, is_left_to_script, say_held, sentence
from ._other_modules import Pace, other_modules_of
from ._put_back import put_back, put_objects, take_back
from ._reach import AttributeScope, GlobalScope
from ._saved import Facts, Saved
from ._shared.order import Order
from ._shared.places import HANDED, elements_of, root_of_text
from ._shared.putting import Objects
from ._shared.sharing import Sharing
from ._turns import Items, Turns
from ._walk import Slot, Walk, Way

logger = logging.getLogger("holdfast")

ALL_OF_THEM: Final = "the script's variables"
"""What is named where they are not looked at, so that nothing is known of them."""

Item = TypeVar("Item")
_all: WeakSet[Variables] = WeakSet()
Mode = Literal["save", "watch", "off"]
MODES = ("save", "watch", "off")


def check_mode(mode: Any) -> Mode:
    """What the argument `variables` of a run or an experiment says.

    Raises:
        UsageError: there is no such mode.
    """
    if mode not in MODES:
        raise UsageError(f'variables is "save", "watch" or "off", not {mode!r}.')
    return mode


@dataclass(frozen=True)
class KeptIds:
    """Of what the variables of the script lead to, by id.

    Attributes:
        there: RNGs, and objects whose attributes are looked at.
        came_back: those of which a resume has put something back.
    """

    there: Set[int] = frozenset()
    came_back: Set[int] = frozenset()


def is_ignored_by_a_run(key: str) -> bool:
    """Whether one of the runs of this process was told to leave this variable to the script."""
    return any(each.is_ignored(key) for each in [*_all])


@final
class Variables:
    """The variables of the script that has a run.

    Args:
        mode: "save": they are saved and put back; "watch": those that would be are only named; "off": neither.
        others: called for what else belongs to the run: itself, its data.
        report: told of differences that are found after the resume, a sentence each.
        functions: called for those of the script that are called in the loop, and not from it: what they close over, and
            the objects that they belong to, count too.
        held: what a framework holds and calls, which is looked at in place of the variables of the frames on the stack.

    Raises:
        UsageError: there is no such mode.
    """

    def __init__(
        self,
        mode: Mode,
        objects: Callable[[], Mapping[str, Any]],
        others: Callable[[], Iterable[Any]],
        report: Callable[[Sequence[str]], None],
        held: Held | None = None,
        *,
        functions: Callable[[], Iterable[Any]] = tuple,
    ) -> None:
        self.mode = check_mode(mode)
        self.came_back: list[str] = []
        self._objects, self._others, self._report, self._functions = objects, others, report, functions
        self._held = held
        self._ignored: list[str] = []
        _all.add(self)
        self._sticky: set[str] = set()  # what has changed once is saved from then on
        self._clocks, self._beside = Clocks(), Beside()
        self._marks, self._order = Marks(), Order()
        self._pace, self._of_others = Pace(), dict[str, str]()  # what was named when they were looked at last
        self._failures: list[str] = []  # of the look when the loop began
        self._baseline = Baseline(self._marks)
        self._prepared = Prepared()
        self._saved: Saved | None = None  # to be put back
        self._back: set[str] = set()  # what was, by `scope/key`
        self._failed: dict[str, str] = {}
        self._told: set[str] = set()
        self._is_rollback = False
        self._before = 0  # items of outer loops that were over already

    def ignore(self, patterns: Iterable[str]) -> None:
        """Leave the variables that a pattern matches to the script."""
        self._ignored += check_patterns(patterns)

    def is_ignored(self, key: str) -> bool:
        """Whether a pattern matches this variable."""
        return is_left_to_script(key, self._ignored)

    # --- the loop ---------------------------------------------------------------------------------

    def turns(
        self,
        inner: Items[Item],
        *,
        is_inner: bool = False,
        is_behind: Callable[[], bool],
        position: Callable[[], int],
        total: int = 0,
    ) -> Iterator[Item]:
        """The items of a run's iterator, for a loop of the script.

        `is_inner`: the loop is within another of the run. `is_behind`: whether a resume is still under way.
        `position`: how many items came before this one. `total`: how many there are, those of earlier loops included.
        """
        if self.mode == "off":
            return inner
        is_resumed = False

        def begin() -> None:
            nonlocal is_resumed
            is_resumed = self._saved is not None
            self._begin(is_inner=is_inner)
            if not is_behind() and is_resumed:
                self.put_back()
                self._report(self.differences)

        def entered() -> int:
            if is_behind():
                self.put_back(is_last=False)
            return position() - (0 if is_inner else self._before) if is_resumed else 0

        def turned() -> None:
            if self._prepared.has_begun:  # so there are inner loops
                with _guard.guarded("looked at"):
                    self._prepared.turn(value for _, value in self._named(self._handed(), self._scopes()))

        def ended() -> None:
            self._prepared.end()
            if not is_inner:
                self._before = total

        return Turns(inner, begin, entered, None if is_inner else turned, ended, self._report)

    def begin(self) -> None:
        """A loop that is not the script's own begins: what is changed by the functions that it calls counts."""
        if self.mode != "off":
            self._begin(is_inner=False)

    def _begin(self, *, is_inner: bool) -> None:
        self._clocks.begin()
        self._order.begin(self._objects())
        with _guard.guarded("looked at") as self._failures:
            if self._held is not None:
                self._held.begin()
            here, handed = self._scopes(), self._handed()
            walk, place_of = self._walk(handed, here), None
            if handed.has_containers:  # in which they may be put into another order
                place_of = Sharing(handed.objects, handed.has_memory_of).place_of
            named = [*self._named(handed, here)] if self._held is None else []
            (self._prepared.begin if is_inner else self._prepared.turn)(value for _, value in named)
            given = self._given(named) if is_inner else frozenset[int]()
            others = [] if is_inner or self._held is not None else other_modules_of(here)
            for scope, variables in self._baseline.begin([*here, *others], is_inner=is_inner):
                slots = walk.slots(scope, variables)
                if not self._baseline.is_of_outer_loop(scope):
                    slots = (each for each in slots if given.isdisjoint((id(each.value), id(each.owner))))
                self._baseline.take(scope, slots, place_of)
            self._beside.begin(self._objects(), walk.hooked)

    def _given(self, named: Iterable[tuple[Scope, Any]]) -> frozenset[int]:
        """Ids of what a function that is called within the loop may have from its callers: it does not make that again itself."""
        outer = {id(value) for scope, value in named if self._baseline.is_of_outer_loop(scope)}
        return frozenset(outer - self._baseline.ids_before_loop())

    def _named(self, handed: Handed, here: Sequence[Scope]) -> Iterator[tuple[Scope, Any]]:
        """The objects that are no data, which variables of a scope name at this moment."""
        walk = self._walk(handed, here)
        for scope in here:
            slots = walk.slots(scope, scope.variables())
            yield from ((scope, slot.value) for slot in slots if slot.way == "named")

    # --- a save -----------------------------------------------------------------------------------

    def capture(self) -> tuple[dict[str, dict[str, Any]], dict[str, Any]]:
        """What a checkpoint holds of the variables: live values by scope and key, and facts about them."""
        if self.mode == "off" or (self._baseline.is_empty and not self._failures):
            return {}, {}
        with _guard.guarded("saved") as failures, collector.paused():
            say = sentence if self._held is None else say_held
            here, handed = self._scopes(), self._handed()
            keeps = self.mode == "save"
            taking = Capture(
                *(handed, self._baseline, self._sticky, self._clocks, here),
                keeps=keeps,
                prepared=self._prepared,
                say=say,
            )
            walk = self._walk(handed, here)
            for scope in here:
                if scope in self._baseline:
                    slots = walk.slots(scope, self._readable(scope))
                    taking.add(
                        scope, (each for each in slots if not is_left_to_script(each.key, self._ignored))
                    )
            if self._held is None and self._pace.is_due():
                with self._pace.look():
                    others = taking.beside()
                    for scope in other_modules_of(here):
                        self._name(scope, walk, others)
                    others.finish(walk.seen)
                self._of_others = others.facts.unsaved
            taking.finish(walk.seen)
            taking.facts.unsaved.update(self._of_others)
            taking.facts.unsaved.update(self._beside_them(walk.hooked))
            taking.facts.order = self._order.changed(self._objects())
            self._tell(taking.facts)
            if not self._failures:
                return taking.values, taking.facts.as_data()
        why = [*failures, *self._failures][0]
        return {}, Facts(unsaved={ALL_OF_THEM: f"{ALL_OF_THEM} could not be looked at ({why})"}).as_data()

    def _beside_them(self, hooked: Mapping[str, Any]) -> dict[str, str]:
        """What has changed beside the variables; `hooked`: those that may have hooks of torch."""
        found = self._beside.changed(self._objects(), hooked, "run." if self._held is None else "")
        return {key: said for key, said in found.items() if not self.is_ignored(key)}

    def _name(self, scope: Scope, walk: Walk, taking: Capture) -> None:
        """Name what has changed of the globals of another module."""

        def named(key: str) -> str:
            return f"{scope.name.partition(':')[2]}.{key}"

        if scope not in self._baseline:  # it was imported only now
            for new, variables in self._baseline.begin([scope], is_inner=True):
                self._baseline.take(new, self._walk(self._handed(), ()).slots(new, variables))
        slots = walk.slots(scope, scope.variables())
        wanted = (each for each in slots if not is_left_to_script(named(each.key), self._ignored))
        taking.name(scope, wanted, named, OF_ANOTHER_MODULE)

    @property
    def has_begun(self) -> bool:
        """Whether a loop of the script has begun, so that its variables are known; always where none are saved."""
        return self.mode != "save" or not self._baseline.is_empty

    def held(self) -> dict[str, Any]:
        """The objects with a state of their own that are saved as variables, by scope and key."""
        found: dict[str, Any] = {}
        if self.mode == "save":
            with _guard.guarded("looked at"):
                here = self._scopes()
                walk = self._walk(self._handed(), here)
                for scope in here:
                    for slot in walk.slots(scope, self._readable(scope) if scope in self._baseline else {}):
                        if slot.way == "protocol" and not is_left_to_script(slot.key, self._ignored):
                            found[f"{scope.name}/{slot.key}"] = slot.value
        return found

    def is_made_in_loop(self, value: Any) -> bool:
        """Whether something was not there yet when the loop began, as far as can be told."""
        if self.mode != "off" and not self._baseline.is_empty:
            with _guard.guarded("looked at"):
                return self._baseline.is_younger(value, self._scopes())
        return False

    def _readable(self, scope: Scope) -> dict[str, Any]:
        """The variables that can still be read; those of before the loop where that cannot be told."""
        if isinstance(
            scope, GlobalScope | AttributeScope | FunctionScope | HandlerScope
        ):  # a function may make them
            return scope.variables()
        live = None if scope.frame is None else live_names(scope.frame)
        names = self._baseline.names_of(scope) if live is None else live
        return {name: value for name, value in scope.variables().items() if name in names}

    def _tell(self, facts: Facts) -> None:
        for key, said in facts.unsaved.items():
            if key not in self._told:
                self._told.add(key)
                logger.warning("not saved: %s", said)
        for name in self._marks.sampled - self._told:
            self._told.add(name)
            logger.info(
                "%s is too large to be looked at in full at each save: it is compared at samples", name
            )

    def _scopes(self) -> list[Scope]:
        if self._held is not None:
            return [*self._held.scopes(), *handlers()]
        here = scopes()
        variables = [each for scope in here for each in scope.variables().values()]
        within = scopes_within(self._objects(), variables)
        found = [*here, *scopes_of(self._functions()), *within, *handlers()]
        # What is in several has its name by one that is there as soon as a resume begins.
        return sorted(found, key=lambda each: not self._baseline.is_of_outer_loop(each))

    def _walk(self, handed: Handed, here: Sequence[Scope]) -> Walk:
        return (Walk if self._held is None else self._held.walk)(handed, here)

    def _handed(self) -> Handed:
        return Handed(self._objects(), [self, *self._others()])

    # --- a resume ---------------------------------------------------------------------------------

    def before_restore(self, facts: Any) -> set[str]:
        """Put the objects into the order that they had; returns the paths, in these, of arrays that `put_back` puts there, as they lie
        in the memory of others."""
        if self.mode != "save":
            return set()
        found = Facts.of(facts)
        self._order.restore(self._objects(), found.order)
        shared = found.shared
        places = [
            [root_of_text(each), *elements_of(each)]
            for each in shared
            if root_of_text(each).startswith(HANDED)
        ]
        paths_ = [paths.child("", root.removeprefix(HANDED)) for root, *_ in places]
        return {
            state.path_of_place("/".join([name, *inside]))
            for name, (_, *inside) in zip(paths_, places, strict=True)
        }

    def take(self, source: Source, tree: Mapping[str, Node], facts: Any) -> list[str]:
        """Keep what a checkpoint holds, to be put back; returns the names of what it could not save."""
        self._saved = None
        if self.mode == "off":  # whatever they hold now is the script's affair, and unknown
            return [ALL_OF_THEM]
        saved = Saved(source, tree, facts)
        if self.mode == "save":
            self._saved, self._failed, self._back = saved, {}, set()
            self._is_rollback = not self._baseline.is_empty
            self._sticky = saved.changed
        not_put_back = saved.paths if self.mode == "watch" else ()
        names = [*saved.facts.unsaved, *(path.partition("/")[2] for path in sorted(not_put_back))]
        return list(dict.fromkeys(names))

    def put_back(self, *, is_last: bool = True) -> None:
        """Put back what was saved; `is_last`: the loop is where the checkpoint was, so this is done."""
        saved = self._saved
        if saved is None:
            return
        with _guard.guarded("put back") as failures:
            here = self._scopes()
            known = Objects(here, self._baseline, self._objects(), saved.made)
            named, lost = put_objects(saved, here, lambda: self._walk(self._handed(), here), known)
            of_run = self._objects_of_run(saved, here)
            done, failed = put_back(saved, here, self._walk(self._handed(), here), known)
            done, failed = {**named, **done}, {**lost, **failed, **of_run}
            if self._is_rollback:
                failed |= self._take_back(here, {*done, *failed, *saved.forgotten})
            if saved.facts.held:
                short = let_go_of_places(saved, here, self._walk(self._handed(), here), is_last=is_last)
                done = {path: value for path, value in done.items() if path not in short}
                failed |= dict.fromkeys(short, "not all that it held could be put back")
            self._back |= done.keys()
            self._prepared.know(saved.made.values())
            self.came_back = [*dict.fromkeys([*self.came_back, *(path.partition("/")[2] for path in done)])]
            self._failed = {path: why for path, why in {**self._failed, **failed}.items() if path not in done}
        self._failed |= {path: why for why in failures for path in saved.paths}
        if is_last:
            there = {scope.name for scope in self._scopes()}
            away = [path for path in saved.paths if path.partition("/")[0] not in there]
            self._failed |= dict.fromkeys(away, "the function that it is in is not running now")
            self._saved = None

    def kept(self) -> KeptIds:
        """What has been restored with the variables, so that nobody else need do it."""
        there, came_back = set[int](), set[int]()
        if self.mode == "save":
            with _guard.guarded("looked at"):
                here = self._scopes()
                walk = self._walk(self._handed(), here)
                for scope in here:
                    for slot in walk.slots(scope, scope.variables()):
                        if is_left_to_script(slot.key, self._ignored):
                            continue
                        of_slot = {id(slot.owner), *([id(slot.value)] if is_rng(slot.value) else [])}
                        there |= of_slot
                        came_back |= of_slot if f"{scope.name}/{slot.key}" in self._back else set()
        return KeptIds(there - {id(None)}, came_back - {id(None)})

    def _objects_of_run(self, saved: Saved, here: Sequence[Scope]) -> dict[str, str]:
        """Leave alone what was an object of its own when it was saved, and as the script begins is the run's, which has its state."""
        walk, found = self._walk(self._handed(), here), dict[str, str]()
        for scope in here:
            names = {key.partition(".")[0] for key in saved.nodes.get(scope.name, ())}
            there = {name: each for name, each in scope.variables().items() if name in names}
            for slot in walk.slots(scope, there):
                path = f"{scope.name}/{slot.key}"
                if slot.is_handed and path in saved.facts.protocol:
                    found[path] = "the run had another object by then, and has this one as the script begins"
        for path in [
            each for each in saved.paths for one in found if each == one or each.startswith(f"{one}.")
        ]:
            saved.forget(path)
        return found

    @contextmanager
    def changes_win(self) -> Iterator[None]:
        """What is done inside, after a rollback, is not undone by what is put back once the loop continues."""
        self.put_back(is_last=False)
        saved = self._saved
        if saved is None:
            yield
            return
        before = dict(self._marks_now())
        yield
        for at, mark in self._marks_now():
            if before.get(at) != mark:
                saved.forget(at[0])

    def _marks_now(self) -> Iterator[tuple[tuple[str, Way], Hashable]]:
        here = self._scopes()
        walk = self._walk(self._handed(), here)
        for scope in here:
            for slot in walk.slots(scope, scope.variables() if scope in self._baseline else {}):
                if slot.way != "opaque":
                    yield (f"{scope.name}/{slot.key}", slot.way), self._baseline.mark_of(scope, slot)

    def _take_back(self, here: list[Scope], but: set[str]) -> dict[str, str]:
        variables = [(scope, self._readable(scope)) for scope in here if scope in self._baseline]

        def slots() -> Iterator[tuple[Scope, Slot]]:
            walk = self._walk(self._handed(), here)
            for scope, there in variables:
                for slot in walk.slots(scope, there):
                    is_left = is_left_to_script(slot.key, self._ignored)
                    if f"{scope.name}/{slot.key}" not in but and not is_left:
                        yield scope, slot

        return take_back(self._baseline, slots)

    @property
    def differences(self) -> list[str]:
        """What could not be put back, a sentence each."""
        return [
            f"the variable {path.replace('/', ': ')} could not be put back: {why}"
            for path, why in self._failed.items()
        ]

    def close(self) -> None:
        """Let go of everything."""
        self._baseline, self._saved = Baseline(self._marks), None
