"""From a checkpoint of a loop into its live objects: the places that it must fit, and what it leaves as the script has it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, final

from ... import bundle, state
from ...errors import PlanMismatchError, UsageError
from ...records import IMPORTED, RESERVED, STANDALONE
from .._saving.parts import Parts
from .hyperparameters import PLACES
from .options import Resume
from .saved_state import SavedState

_OTHER = "Pass the directory of this run, or start again with resume=False in another directory."


@final
class Restoring:
    """Puts checkpoints into the objects of a loop, until one is intact.

    Args:
        exclude: patterns of paths that checkpoints leave out.
        advice: what to do where the objects are others.

    Attributes, once `load` has returned:
        saved: what the checkpoint holds beside the objects and the script's variables.
        state: what it holds of the objects, to be compared with them.
        changed: what was left as the script has it, in sentences.
        unsaved: names of variables that the checkpoint could not hold.
    """

    def __init__(
        self, parts: Parts, asked: Resume, exclude: Sequence[str], advice: str, *, is_rollback: bool
    ) -> None:
        self._parts, self._asked, self._exclude, self._advice = parts, asked, exclude, advice
        self._is_rollback = is_rollback
        self.saved: Mapping[str, Any]
        self.state: SavedState
        self.changed: list[str] = []
        self.unsaved: list[str] = []

    def load(
        self, opened: bundle.Bundle, verify: Literal["first", "streaming"], ready: Callable[[], None]
    ) -> tuple[Restoring, Sequence[str]]:
        """Restore the objects; returns itself, and the paths of what the checkpoint leaves out. `ready`: as of `state.restore`.

        Raises:
            PlanMismatchError, StateMismatchError, DamagedError, UsageError: as `Loop.resume`.
        """
        parts, objects = self._parts, self._parts.objects
        tree = self._tree_of_rank(opened)
        self._bring_to_structure(opened)
        state.meet_own_types(tree)
        self.saved = state.rebuild(opened, {name: tree[name] for name in RESERVED})
        values = parts.values.read(opened, tree, self.saved["run"].get("values"), objects)
        known = {*objects, *parts.reserved, *values.names}
        differences = [f"{name!r} was saved and is not here now" for name in tree if name not in known]
        differences += [f"{name!r} is here and was not saved" for name in objects if name not in tree]
        if differences and self._asked.strict:
            raise PlanMismatchError(differences, "run", self._advice)
        label = self.saved["run"]["label"]
        if label != parts.label:
            raise PlanMismatchError(
                [f"{opened.path} is of {label!r}, and this is {parts.label!r}"], "run", _OTHER
            )
        own = {} if parts.script is None else parts.script.changed(self.saved["run"].get("given"), tree)
        into = {name: each for name, each in objects.items() if name not in own}
        facts = self.saved["run"].get("variables")
        tied = () if parts.variables is None else parts.variables.before_restore(facts)
        restored = state.restore(
            *(opened, into),
            strict=self._asked.strict,
            verify=verify,
            keep=self._exclude,
            put_later=tied,
            ready=ready,
        )
        objects.update(restored.value)
        absent = {name for name in objects if name not in tree}
        skipped = [each for each in restored.skipped if each.partition(": ")[0] not in absent]
        settled = parts.options.settle(self.saved["run"]["options"], self._asked.overridden)
        parts.values.take(values, is_rollback=self._is_rollback)
        lost = state.inexact({name: tree[name] for name in into if name in tree})
        self.changed = [*differences, *skipped, *settled, *own.values(), *values.differences, *lost]
        unlike = [each.partition(": ")[0] for each in restored.skipped] + [*restored.kept, *own]
        unlike += [f"{name}/**" for name in own]
        unlike += PLACES if settled else []
        if parts.ranks.are_several:
            self.state = SavedState.of_live(objects, unlike)
        else:
            self.state = SavedState.of(opened, [*objects, *values.facts], unlike)
        if parts.variables is not None:
            self.unsaved = parts.variables.take(opened, tree, facts)
        return self, restored.kept

    def _tree_of_rank(self, opened: bundle.Bundle) -> dict[str, Any]:
        """What the checkpoint holds, by name; of what each rank has for itself, that of this one."""
        objects, ranks = self._parts.objects, self._parts.ranks
        return ranks.mine(_tree_of_run(opened), lambda name: name not in objects, opened.path)

    def _bring_to_structure(self, opened: bundle.Bundle) -> None:
        """Let the script change the objects into what this checkpoint fits.

        Raises:
            UsageError: it gives back what is no mapping of objects by the names of the run.
            DamagedError: a byte is wrong; the script was not asked.
        """
        if (act := self._asked.on_structure) is None:
            return
        for problem in opened.problems():
            raise problem
        objects, replaced = self._parts.objects, act(opened.record)
        if replaced is not None:
            if not isinstance(replaced, Mapping) or not replaced.keys() <= objects.keys():
                known = ", ".join(map(repr, objects))
                raise UsageError(
                    f"on_structure returned {replaced!r}: it may return objects by name, of {known}."
                )
            objects.update(replaced)
        self._parts.options.read()


def _tree_of_run(opened: bundle.Bundle) -> dict[str, Any]:
    """What the checkpoint holds, by name.

    Raises:
        PlanMismatchError: it is no checkpoint of a loop, or what a loop needs was left out of it.
    """
    tree, path = opened.tree, opened.path
    is_alone = opened.record.moment.hook in (STANDALONE, IMPORTED)
    if is_alone or not isinstance(tree, dict) or not tree.keys() >= {*RESERVED}:
        into = f"holdfast.load({path!r}, into=state) puts it into the objects, and resume=False begins with them."
        raise PlanMismatchError([f"{path} holds a state, and no run of a loop"], "run", into)
    lacking = [
        f"{each!r} was left out, and no run resumes without it"
        for each in state.all_left_out(tree)
        if each.partition("/")[0] in RESERVED
    ]
    if lacking:
        raise PlanMismatchError(lacking, "run", _OTHER)
    return tree
