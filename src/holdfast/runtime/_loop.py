"""`Loop`: makes any training loop resumable, whenever it is killed.

The loop announces its hooks; a policy says when to save; live objects, the loop's own position, what was
logged and the random states are one checkpoint. Every integration stands on this.
"""

from __future__ import annotations

import logging
import os
import secrets
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, final

from .. import bundle, rng, state
from ..errors import DivergenceError, PlanMismatchError, UsageError
from ..harness import place
from ..policy import Checkpointing, attach_to_training, check_label, check_name, directory_path, settle_mode
from ..records import IMPORTED, RESERVED, STANDALONE, VARIABLES, Moment
from ..variables import Variables
from ._costs import Accounting
from ._directory import ExperimentDirectory
from ._hooks import Hooks
from ._resuming.expected import Ahead, generators_in, stream_digests, streams_used
from ._resuming.hyperparameters import PLACES, check_override, options_of, settle
from ._resuming.options import Resume
from ._resuming.proof import prove
from ._resuming.report import ResumeReport, Resumption
from ._resuming.resume import BUILD, resume_from
from ._resuming.said import ended, say
from ._resuming.saved_state import SavedState
from ._saving.manual import save_manually
from ._session import Session
from ._table import Table

logger = logging.getLogger("holdfast")

Position = Mapping[str, Any]
"""Where a loop is, as plain data and arrays; what is in it is the loop's own affair."""

_SKIP = (
    "Build the objects as they were when saved; or pass resume=Resume(strict=False): what does not fit then stays as the "
    "script has made it, and the verdict says so; or start again with resume=False in another directory."
)
_OTHER = "Pass the directory of this run, or start again with resume=False in another directory."


@final
class Loop:
    """A loop's hold on its directory, its policy, and the live objects that it trains.

    Args:
        directory: where checkpoints go, unless the policy has a directory of its own.
        checkpointing: when to save, to disk; a copy of it if it has a parent already.
        objects: live objects and plain values by name: all that decides what comes next. A value that is
            not changed in place (a number, a JAX array) is replaced in this mapping by a restore, and has to be
            replaced in it by the loop or its user.
        position: asked at each save where the loop is.
        ahead: asked at each save and at a resume what comes next: the next batch, and generators that are not
            among the objects.
        label: the name that stands in for the phase in moments and names.
        share_directory: run although another live run uses the directory.
        can_skip: whether `resume=Resume(strict=False)` works here, so that errors may name it.
        untrained: patterns of paths, among the objects, of what is not trained and need not be finite.
        lacking: asked at each save for what is at work and is not among the objects, in sentences.
        variables: the script's own, which are saved with the objects.

    Attributes:
        run: the run's id; that of the checkpoint, once it resumes from one.
        path: the directory.
        results: what was logged: a table that only grows.

    Raises:
        UsageError: the policy cannot work, or an object has a name of the library's own.
    """

    def __init__(
        self,
        directory: str | os.PathLike[str],
        checkpointing: Checkpointing | None,
        *,
        objects: Mapping[str, Any],
        position: Callable[[], Position],
        ahead: Callable[[], Ahead] = Ahead,
        label: str = "train",
        share_directory: bool = False,
        untrained: Sequence[str] = (),
        lacking: Callable[[], Sequence[str]] = lambda: (),
        can_skip: bool = False,
        variables: Variables | None = None,
    ) -> None:
        self._variables = variables
        self._reserved = (*RESERVED, *([] if variables is None else [VARIABLES]))
        self.label = check_label(label)
        self.policy = attach_to_training(Checkpointing.default() if checkpointing is None else checkpointing)
        settle_mode(self.policy, on_disk=True)
        if self.policy.mode != "disk":
            raise UsageError("a loop of your own saves to disk: leave mode out, or pass mode='disk'.")
        self.objects = state.named(objects, reserved=self._reserved)
        self.run = secrets.token_hex(16)
        self.results = Table()
        self._resumption: Resumption | None = None
        self.moment = Moment(run=self.run, hook="phase_start", phase=self.label)
        self._position, self._known_ahead, self._lacking = position, ahead, lacking
        self._asked = Resume()  # how to resume; a rollback does it in the same way
        self._unsaved: list[str] = []  # variables that the checkpoint could not hold
        self._changed: list[str] = []  # what a resume left as the script has it, in sentences
        self._options = options_of(self._optimizers)
        self._streams_at_start = stream_digests(rng.capture_state())
        directory_path("directory", directory)  # may be empty where a variable is not set
        self.path = place(directory)
        self._folder = Path(place(self.policy.directory or directory))
        self._share, self._untrained = share_directory, untrained
        self._advice = _SKIP if can_skip else BUILD
        # From `holding` on:
        self._directory: ExperimentDirectory
        self._session: Session
        self._hooks: Hooks

    def _open(self) -> None:
        self._directory = ExperimentDirectory(self.path, self.run, also=[self._folder], share=self._share)
        try:
            self._session = Session(
                *(self.policy, "train", self.label, self._directory, self._folder), untrained=self._untrained
            )
            self._hooks = Hooks(self._directory)
            self.policy.reset()
            self._directory.share_with(self.policy.write.trusted)
        except BaseException:
            self._directory.close()
            raise

    # --- resuming ---------------------------------------------------------------------------------

    def resume(self, resume: Resume) -> Mapping[str, Any] | None:
        """Put the requested checkpoint into the objects; returns the position that was saved, None if from scratch.

        The global random states are *not* set: the loop does so with `finish_resume`, once it has
        built its data again, which may draw from them.

        Raises:
            UsageError: `resume.override` names an option that no optimizer has; nothing was changed.
            UnsupportedStateError: an object, or something in it, cannot be saved; nothing was changed.
            StateMismatchError: it does not fit the objects; nothing was changed.
            PlanMismatchError: it is of another loop, or holds other objects.
            CheckpointNotFoundError, DamagedError: as `resume_from`.
        """
        check_override(resume.overridden, self._options)
        if self._resumption is None:  # now, and not at the first save, hours later; nothing is copied
            state.look(state.named(self.objects, reserved=RESERVED), exclude=self.policy.exclude)
        self._asked = resume
        if resume.origin is None:
            return None
        found = resume_from(
            self._directory,
            resume.origin,
            self._load,
            finite_only=self._session.watch.shuns_infinity,
            advice=self._advice,
        )
        if found is None:
            return None
        self._resumption, saved = found
        self._resumption.add([*self._changed, *saved["run"].get("lacking", ())])
        self._resumption.lack(self._unsaved)
        if resume.prove:
            prove(self._directory, self._resumption)
        self._session.resume(saved["run"]["counters"], self._directory.own(), self._resumption.report.record)
        self.run = self._directory.run  # of a fork another than in the state
        self._streams_at_start = dict(saved["run"]["streams_at_start"])
        self._streams = saved["random"]
        self.results.set_state(saved["results"])
        return saved["run"]["position"]

    def _load(
        self, opened: bundle.Bundle, verify: Literal["first", "streaming"]
    ) -> tuple[Mapping[str, Any], Sequence[str]]:
        tree = opened.tree
        if opened.record.moment.hook in (STANDALONE, IMPORTED) or (
            not isinstance(tree, dict) or not tree.keys() >= {*RESERVED}
        ):
            raise PlanMismatchError([_is_no_run(opened.path)], "run", _into(opened.path))
        lacking = [
            f"{path!r} was left out, and no run resumes without it"
            for path in state.all_left_out(tree)
            if path.partition("/")[0] in RESERVED
        ]
        if lacking:
            raise PlanMismatchError(lacking, "run", _OTHER)
        self._bring_to_structure(opened)
        known = {*self.objects, *self._reserved}
        differences = [f"{name!r} was saved and is not here now" for name in tree if name not in known]
        differences += [f"{name!r} is here and was not saved" for name in self.objects if name not in tree]
        if differences and self._asked.strict:
            raise PlanMismatchError(differences, "run", self._advice)
        saved = state.rebuild(opened, {name: tree[name] for name in RESERVED})
        if saved["run"]["label"] != self.label:
            raise PlanMismatchError(
                [f"{opened.path} is of {saved['run']['label']!r}, and this is {self.label!r}"], "run", _OTHER
            )
        restored = state.restore(
            *(opened, dict(self.objects)), strict=self._asked.strict, verify=verify, keep=self.policy.exclude
        )
        self.objects.update(restored.value)
        absent = {name for name in self.objects if name not in tree}
        skipped = [each for each in restored.skipped if each.partition(": ")[0] not in absent]
        settled = self._settled(saved["run"]["options"])
        self._changed = [*differences, *skipped, *settled]
        unlike = [each.partition(": ")[0] for each in restored.skipped] + [*restored.kept]
        self._saved_state = SavedState(opened, self.objects, unlike + (PLACES if settled else []))
        if self._variables is not None:
            self._unsaved = self._variables.take(opened, tree, saved["run"].get("variables"))
        return saved, restored.kept

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
        replaced = act(opened.record)
        if replaced is not None:
            if not isinstance(replaced, Mapping) or not replaced.keys() <= self.objects.keys():
                known = ", ".join(map(repr, self.objects))
                raise UsageError(
                    f"on_structure returned {replaced!r}: it may return objects by name, of {known}."
                )
            self.objects.update(replaced)
        self._options = options_of(self._optimizers)

    def _settled(self, then: Sequence[Mapping[str, Any]]) -> list[str]:
        """Options for which the script's values won, a sentence each."""
        if len(then) != len(self._options):  # strict=False has let another optimizer pass
            return []
        schedulers = [each for each in self.objects.values() if hasattr(each, "base_lrs")]
        self._options, overridden = settle(
            self._optimizers, schedulers, then=then, script=self._options, override=self._asked.overridden
        )
        return overridden

    @property
    def _optimizers(self) -> list[Any]:
        return [each for each in self.objects.values() if hasattr(each, "param_groups")]

    def finish_resume(
        self, find: Callable[[], Sequence[str]] = lambda: (), *, not_loaded: Collection[str] = ()
    ) -> None:
        """Set the global random states as they were in the checkpoint: the last act of a resume.

        What comes next is compared with what should, and the live objects with what was saved, except for those that
        are loaded only later (`not_loaded`); `find` says what else the loop finds different. From now on `last_resume.verdict` is
        known, and it is in the log.
        """
        rng.restore_state(dict(self._streams))
        assert self._resumption is not None
        loaded = {name: each for name, each in self.objects.items() if name not in not_loaded}
        self._resumption.expect(self._saved_state, lambda: loaded)
        came_back = [] if self._variables is None else self._variables.came_back
        self._resumption.announce(self._ahead, find(), self._directory.rollbacks, came_back)

    def add_differences(self, found: Sequence[str]) -> None:
        """What is found different only after the resume; it is logged."""
        assert self._resumption is not None
        self._resumption.add(found)

    def lack(self, found: Sequence[str]) -> None:
        """This trains and is not among the objects, so it is in no checkpoint: say so, once."""
        for each in found:
            logger.warning(
                "%s, so that no resume is exact: pass it to the run with the other objects, or make it before the loop of a "
                "resumable function",
                each,
            )
        if self._resumption is not None:
            self._resumption.add(found)

    @property
    def last_resume(self) -> ResumeReport | None:
        """From where it resumed, and how exactly; None if it began from scratch."""
        return None if self._resumption is None else self._resumption.report

    def roll_back(self, why: DivergenceError) -> Mapping[str, Any]:
        """Put the checkpoint that `why` names into the objects, as `resume` does; returns the position that was saved.

        Afterwards the random states are others than they were (see `runtime._divergence`).
        """
        aim = self._directory.rollbacks.begin(why, self._directory.disk)
        saved = self.resume(replace(self._asked, source=aim, prove=False))
        assert saved is not None
        return saved

    def look(self) -> None:
        """Once everything is committed: raise DivergenceError if what was saved last is not finite."""
        self._hooks.look_at_end([self._session], self.moment)

    def _ahead(self) -> Ahead:
        known = self._known_ahead()
        return Ahead(known.batch, {**generators_in(self.objects), **known.generators})

    # --- hooks and saves --------------------------------------------------------------------------

    def announce(
        self,
        hook: str,
        *,
        epoch: int | None = None,
        batch: int | None = None,
        step: int,
        metrics: Mapping[str, float] | None = None,
        losses: Collection[str] = (),
    ) -> None:
        """The loop is at this hook, everything that belongs to it done: count it, and save if the policy says so.

        `losses`: names of metrics that are to be finite, besides `monitor` and those with "loss" in their name.

        Raises:
            SaveError: an earlier save in the background has failed, or this one did.
            Preempted: a signal has told the run to leave, and its state is saved.
            DivergenceError: what is trained is not finite any more, and the policy minds; nothing was saved now.
        """
        self.moment = Moment(run=self.run, hook=hook, phase=self.label, epoch=epoch, batch=batch, step=step)
        self._hooks.prepare(hook)
        self._hooks.announce(
            *(self.moment, [self._session], self._parts),
            ahead=self._ahead,
            metrics=metrics or {},
            losses=losses,
        )

    def stop(self, why: str) -> None:
        """The loop ends before its time: save that at the next end, or a resume would train what `why` has ended."""
        self._session.demand(why)

    @contextmanager
    def at_rest(self) -> Iterator[None]:
        """Inside, nothing in a checkpoint changes except random states, as while data are read; see `Hooks.at_rest`."""
        with self._hooks.at_rest(
            [self._session], self.moment, self._parts, lambda: {"run": self._about_run()}
        ):
            yield

    def save(self, name: str, *, overwrite: bool = True, metrics: Mapping[str, float] | None = None) -> Path:
        """Save now under this name, whatever the policy says; returns the bundle's path once it is committed.

        Raises:
            UsageError: the name cannot be one.
            CheckpointExistsError: it is taken and `overwrite` is False.
            SaveError: the disk refused.
        """
        check_name(name)
        return save_manually(
            self._directory,
            str(self._folder),
            name,
            self._parts(),
            kind="train",
            moment=self.moment,
            metrics=metrics,
            durability=self.policy.write.durability,
            exclude=self.policy.exclude,
            overwrite=overwrite,
            ahead=self._ahead(),
            may_be_infinite=self._session.may_be_infinite,
        )

    def _parts(self) -> dict[str, Any]:
        """What a checkpoint of this loop holds, by name; live."""
        variables, facts = ({}, {}) if self._variables is None else self._variables.capture()
        return {
            **state.named(self.objects, reserved=self._reserved),
            **({VARIABLES: variables} if variables else {}),
            "run": {**self._about_run(), **({"variables": facts} if facts else {})},
            "results": self.results.get_state(),
            "random": rng.capture_state(),
        }

    def _about_run(self) -> dict[str, Any]:
        self._note_groups()
        return {
            "id": self.run,
            "label": self.label,
            "position": self._position(),
            "counters": self.policy.get_counters(),
            "streams_at_start": self._streams_at_start,
            "options": self._options,
            **({"lacking": list(lacking)} if (lacking := self._lacking()) else {}),
        }

    def replace(self, name: str, value: Any) -> None:
        """Put `value` in the place of the object of this name; what a new optimizer says of its options holds from now on."""
        self._note_groups()
        before = [*self.objects.values()][: [*self.objects].index(name)]
        start = sum(len(each.param_groups) for each in before if hasattr(each, "param_groups"))
        end = start + len(getattr(self.objects[name], "param_groups", ()))
        self.objects[name] = value
        if hasattr(value, "param_groups"):
            self._options = [*self._options[:start], *options_of([value]), *self._options[end:]]

    def _note_groups(self) -> None:
        """Groups may have been added to the last optimizer."""
        now = options_of(self._optimizers)
        if len(now) != len(self._options):
            self._options = [*self._options[: len(now)], *now[len(self._options) :]]

    # --- the end ----------------------------------------------------------------------------------

    @property
    def rollbacks(self) -> int:
        """How often the run has been rolled back, earlier processes included."""
        return self._directory.rollbacks.count

    @property
    def accounting(self) -> Accounting:
        """What saving has cost so far."""
        return self._directory.accounting

    def state_digest(self) -> str:
        """BLAKE3 of what two runs have in common at the same place: objects, position, results, streams drawn from."""
        common = {
            **self.objects,
            "position": self._position(),
            "results": self.results.get_state(),
            "random": streams_used(rng.capture_state(), self._streams_at_start),
        }
        return state.digest(state.capture(common))

    def wait(self) -> None:
        """Return once everything is committed; raises what a save in the background has raised."""
        self._directory.writer.wait()

    def _at_end(self) -> str:
        began_at = 0 if self.last_resume is None else self.last_resume.record.moment.step
        spent = self.accounting
        return ended(
            step=max(self.moment.step, began_at),
            began_at=began_at,
            saves=spent.saves,
            blocked_s=spent.blocked_s,
            elapsed_s=0.0 if spent.pace is None else spent.pace.elapsed_s,
            place=str(self._folder),
        )

    @contextmanager
    def holding(self) -> Iterator[None]:
        """Hold the directory meanwhile; at the end a failed save surfaces, unless another error is on its way.

        Raises:
            RunActiveError: another live run uses the directory.
            SaveError: the directory cannot be written.
        """
        self._open()
        try:
            with self._directory.calls.heeding([self.policy]):
                yield
                self.wait()
                self.look()
            say(logging.INFO, self._at_end())
        except BaseException as err:
            self._hooks.rescue(err, [self._session])
            raise
        finally:
            self._directory.close()


def _is_no_run(path: str) -> str:
    return f"{path} holds a state, and no run of a loop"


def _into(path: str) -> str:
    return f"holdfast.load({path!r}, into=state) puts it into the objects, and resume=False begins with them."
