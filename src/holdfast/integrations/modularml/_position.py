"""`Position`: where one experiment is in its plan, what a checkpoint there holds, and resuming from one."""

# pyright: reportMissingImports=false

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from typing import Any, Literal, final

from ... import bundle, rng, state
from ...errors import PlanMismatchError
from ...records import VARIABLES, Moment
from ...runtime import (
    Ahead,
    Lacking,
    Origin,
    ResumeReport,
    Resumption,
    SavedState,
    resume_from,
    stream_digests,
    streams_used,
    warn_lacking,
)
from ...variables import Held, Mode, Variables
from .._common.script_settings import ScriptSettings, options_by_name
from ._finished import Finished
from ._graph import describe, live_parts, make_ready, optimizers_of
from ._script import AtCalls, describe_data, differences_of_data
from ._sessions import Sessions, train_phases
from ._training import Training, sampler_generators
from ._values import Decoder, Encoder

_HAND_OVER = "let the ModelGraph or one of its nodes have it"
_ADVICE = ". To use the script's, set them in the optimizer once the run has resumed"
PLAIN = ("run", "graph", "phase", "finished", "history", "random")


@final
class Position:
    """The call and phase that an experiment is in, and what it has done by then.

    Attributes:
        run: the run's id.
        call: the number of the call that lasts, or was the last; -1 before the first.
        step: how many training steps are done.
        stack: labels of the groups and the phase that run, outermost first.
        announced: hooks of the experiment that have been, in this call.
        finished: the phases that are done, in this call.
        training: the training phase at work.
    """

    def __init__(self, experiment: Any, sessions: Sessions, variables: Mode) -> None:
        self._experiment, self._sessions = experiment, sessions
        self.run = secrets.token_hex(16)
        self.call, self.step = -1, 0
        self.stack: list[str] = []
        self.announced: list[str] = []
        self.finished = Finished()
        self.training: Training | None = None
        self._resumption: Resumption | None = None
        self._saved_graph: SavedState | None = None
        self._unsaved: Sequence[str] = ()  # attributes that the checkpoint could not hold
        self._script: dict[str, Any] = {}  # the options of optimizers that the run follows
        self._kept: Sequence[str] = ()  # of those that the script has changed
        self._history_before = 0
        self._data: Mapping[str, Any] = {}  # as they were before the first call
        self._at_calls = AtCalls()
        self._called: Sequence[Any] = ()  # units that may be none of the plan
        self._behind: Mapping[str, Any] | None = None  # of the checkpoint, until all is where it was
        self._streams_at_start = stream_digests(rng.capture_state())
        self.lacking = Lacking(lambda: live_parts(self._experiment.model_graph), self._lack)
        self.variables = Variables(
            variables,
            lambda: live_parts(self._experiment.model_graph),
            lambda: [self, self._experiment],
            self._add_differences,
            held=Held(
                lambda: live_parts(self._experiment.model_graph)["model_graph"],
                roots=lambda: [self._experiment, *self._called],
            ),
        )

    # --- in the plan --------------------------------------------------------------------------------

    def begin_variables(self, called: Sequence[Any]) -> None:
        """What these units and the experiment hold and call is looked at from now on."""
        self._called = called
        self.variables.begin()

    def enter_call(self) -> None:
        """A call begins. The one that was interrupted keeps what it had done."""
        if self.variables.mode != "off":
            self._at_calls.look()
        if (
            self._resumption is not None
            and self._behind is not None
            and self.call == self._behind["run"]["call"]
        ):
            unlike = self._at_calls.unlike(self._behind["run"].get("at_call", {}))
            self._resumption.lack([*unlike, *self._unsaved], self.variables.is_ignored)
        if self._behind is None or self.call > self._behind["run"]["call"]:
            self.announced, self.finished = [], Finished()
            self._history_before = len(self._experiment._history)

    @property
    def is_call_done(self) -> bool:
        """Whether the call was done before the checkpoint."""
        return self._behind is not None and self.call < self._behind["run"]["call"]

    @property
    def path(self) -> str:
        return "/".join(self.stack)

    def interrupted(self, path: str) -> Mapping[str, Any] | None:
        """What the checkpoint holds of this phase, if it is the one that was interrupted and not yet at its hook."""
        behind = self._behind
        if behind is None or behind["phase"] is None or self.call != behind["run"]["call"]:
            return None
        return behind["phase"] if behind["phase"]["path"] == path else None

    def moment(
        self, hook: str, path: str | None, *, epoch: int | None = None, batch: int | None = None
    ) -> Moment:
        return Moment(run=self.run, hook=hook, phase=path, epoch=epoch, batch=batch, step=self.step)

    # --- saved and restored -------------------------------------------------------------------------

    @property
    def nodes(self) -> dict[str, Any]:
        """All data sets and nodes of the experiment, by label."""
        return {node.label: node for node in self._experiment.ctx.available_nodes.values()}

    @property
    def labels(self) -> dict[str, str]:
        return {node_id: node.label for node_id, node in self._experiment.ctx.available_nodes.items()}

    def parts(self) -> dict[str, Any]:
        """What a checkpoint holds, by name."""
        training = self.training
        history = self._experiment._history[: self._history_before]
        omit = frozenset({("ExecutionContext", "inputs")})
        variables, facts = self.variables.capture()
        models = live_parts(self._experiment.model_graph)
        return (
            models
            | ({VARIABLES: variables} if variables else {})
            | {
                "graph": describe(self._experiment.model_graph),
                "run": {
                    "id": self.run,
                    "label": self._experiment.label,
                    "call": max(self.call, 0),
                    "step": self.step,
                    "announced": list(self.announced),
                    "counters": self._sessions.counters,
                    "streams_at_start": self._streams_at_start,
                    "script": dict(self._script),
                    "data": dict(self._data),
                    "at_call": dict(self._at_calls.changed),
                    **({"lacking": list(found)} if (found := self.lacking.found) else {}),
                    **({"variables": facts} if facts else {}),
                },
                "phase": None if training is None else training.get_state(self.labels),
                "finished": dict(self.finished.phases),
                "history": [Encoder(self.labels, omit).encode(each) for each in history],
                "random": rng.capture_state(),
            }
        )

    def ahead(self) -> Ahead:
        """What comes next: the batch, and the generators of the samplers of phases that have not begun."""
        training = self.training
        begun = {*self.finished.phases} if training is None else {*self.finished.phases, training.path}
        generators = {
            f"{path}: {name}": generator
            for path, phase in train_phases(self._experiment._exec_plan.all).items()
            if path not in begun
            for name, generator in sampler_generators(phase).items()
        }
        return Ahead(None if training is None else training.next_batch, generators)

    def note_data(self) -> None:
        """The first call begins."""
        self._data = describe_data(self.nodes.values())

    def resume(self, origin: Origin) -> None:
        """Put the newest complete checkpoint into the graph; the rest when the plan has come to its place."""
        assert self._sessions.directory is not None
        found = resume_from(
            self._sessions.directory, origin, self._load, finite_only=self._sessions.wants_finite
        )
        if found is None:
            return
        self._resumption, self._behind = found
        saved = self._behind
        self._resumption.add(saved["run"].get("lacking", ()))
        self._resumption.add(differences_of_data(saved["run"].get("data", {}), self._data))
        self._resumption.lack(self._unsaved, self.variables.is_ignored)
        self._resumption.keep(self._kept)
        self.run = self._sessions.directory.run  # a fork has another id than its state
        self.step = saved["run"]["step"]
        self._streams_at_start = dict(saved["run"]["streams_at_start"])
        self.announced = list(saved["run"]["announced"])
        self.finished = Finished(saved["finished"])
        self._experiment._history = [Decoder(self.nodes).decode(each) for each in saved["history"]]
        self._history_before = len(self._experiment._history)
        self._sessions.fill_ledgers(saved["run"]["counters"], self._resumption.report.record)

    @property
    def last_resume(self) -> ResumeReport | None:
        """From where it resumed, and how exactly; None if it began from scratch."""
        return None if self._resumption is None else self._resumption.report

    def _lack(self, found: Sequence[str]) -> None:
        warn_lacking(found, _HAND_OVER)
        self._add_differences(found)

    def _add_differences(self, found: Sequence[str]) -> None:
        if self._resumption is not None:
            self._resumption.add(found)

    def _load(
        self, opened: bundle.Bundle, verify: Literal["first", "streaming"], _: object
    ) -> tuple[Mapping[str, Any], Any]:
        tree = opened.tree
        if not isinstance(tree, dict) or not tree.keys() >= {*PLAIN}:
            raise PlanMismatchError([f"{opened.path} holds no run of a ModularML experiment"])
        saved = state.rebuild(opened, {name: tree[name] for name in PLAIN})
        if saved["run"]["label"] != self._experiment.label:
            before, now = saved["run"]["label"], self._experiment.label
            raise PlanMismatchError([f"{opened.path} is of experiment {before!r}, and this is {now!r}"])
        self._compare_options(saved)
        kept = self._restore_graph(opened, saved, verify)
        self._unsaved = self.variables.take(opened, tree, saved["run"].get("variables"))
        return saved, kept

    def note_options(self) -> None:
        """Optimizers that were built since the last time have the options that the script has set."""
        self._script = options_by_name(optimizers_of(self._experiment.model_graph)) | self._script

    def _compare_options(self, saved: Mapping[str, Any]) -> None:
        make_ready(self._experiment.model_graph, saved["graph"])
        now = options_by_name(optimizers_of(self._experiment.model_graph))
        settings = ScriptSettings(now, now.keys(), advice=_ADVICE)
        settings.compare(saved["run"].get("script"))
        self._script, self._kept = settings.followed, settings.kept

    def _restore_graph(
        self, opened: bundle.Bundle, saved: Mapping[str, Any], verify: Literal["first", "streaming"]
    ) -> Sequence[str]:
        """Put the checkpoint's graph into the live one; the paths of what it leaves out, and stays as it is."""
        graph = self._experiment.model_graph
        make_ready(graph, saved["graph"])
        parts = {name: part for name, part in live_parts(graph).items() if name in opened.tree}
        kept = state.restore(opened, parts, verify=verify, keep=self._sessions.excluded).kept
        self._saved_graph = SavedState.of(opened, parts, kept)
        return kept

    def _restore_graph_again(self, saved: Mapping[str, Any]) -> None:
        """What the script did before it came to the place of the checkpoint (a phase, a fold) is undone."""
        assert self._resumption is not None
        assert self._saved_graph is not None
        assert self._sessions.directory is not None
        if self._saved_graph.differences(live_parts(self._experiment.model_graph)):
            report = self._resumption.report
            disk = self._sessions.directory.disk
            with bundle.Bundle(disk, report.path, expected_id=report.record.id) as opened:
                self._restore_graph(opened, saved, "first")
        self._resumption.expect(self._saved_graph, lambda: live_parts(self._experiment.model_graph))

    def finish_resume(self) -> None:
        """The plan is where it was when it was saved: from here on all is as it would have been."""
        if self._behind is None or self.is_call_done:
            return
        saved = self._behind
        assert self._resumption is not None
        self._sessions.fill_ledgers(saved["run"]["counters"], self._resumption.report.record)
        self._restore_graph_again(saved)
        if self.training is not None:
            self.training.finish_resume(self.nodes)
        self.variables.put_back()
        rng.restore_state(dict(saved["random"]))
        self._behind = None
        self._resumption.announce(self.ahead, self.variables.differences, came_back=self.variables.came_back)

    def state_digest(self) -> str:
        """BLAKE3 of what two runs have in common at the same place: weights, optimizers, results, random states."""
        finished = {
            path: {name: each["results"][name] for name in ("metrics", "losses")}
            for path, each in self.finished.phases.items()
        }
        streams = streams_used(rng.capture_state(), self._streams_at_start)
        place = {"step": self.step, "call": self.call, "announced": self.announced}
        parts = live_parts(self._experiment.model_graph)
        return state.digest(state.capture(parts | {"finished": finished, "place": place, "random": streams}))
