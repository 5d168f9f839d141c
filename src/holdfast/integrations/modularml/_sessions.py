"""`Sessions`: the policies of one experiment at work, each with a ledger of its own, in one directory."""

# pyright: reportMissingImports=false

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

from modularml.core.experiment.phases.phase_group import PhaseGroup
from modularml.core.experiment.phases.train_phase import TrainPhase

from ... import bundle
from ...harness import place
from ...policy import Checkpointing, attach_to_experiment, attach_to_training, settle_mode
from ...records import Moment
from ...runtime import Ahead, ExperimentDirectory, Hooks, Origin, Session
from ...variables import Mode
from ._graph import memory_state
from ._policies import IN_EXPERIMENT, IN_PHASES, independent, policy_of

logger = logging.getLogger("holdfast")

EXPERIMENT = ""
"""The path under which the experiment's own policy is known."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What the line that switches Holdfast on said.

    Attributes:
        checkpointing: of training phases that have none of their own.
        default: the same, of experiments that say nothing at all of checkpoints, where `checkpointing` is None.
    """

    directory: Path | None = None
    checkpointing: Checkpointing | None = None
    default: Checkpointing | None = None
    resume: Origin | None = True
    share_directory: bool = False
    variables: Mode = "save"


def _own_place(policy: Checkpointing) -> Path | None:
    """The policy's own directory, or what stands for it while the script is run by `holdfast check` and the like."""
    return None if policy.directory is None else Path(place(policy.directory))


@final
class Sessions:
    """A session for the experiment's policy, and one for that of each training phase.

    Attributes:
        directory: held while a call lasts; None if nothing is saved to disk.
        is_in_use: whether a call lasts: no other experiment in this process gets the directory.
    """

    def __init__(self, experiment: Any, settings: Settings) -> None:
        self._experiment, self._settings = experiment, settings
        self._for_phases = settings.checkpointing  # that have none of their own
        self.directory: ExperimentDirectory | None = None
        self.is_in_use = False
        self._by_path: dict[str, Session] = {}
        self._hooks = Hooks(None)

    # --- policies and their places ---------------------------------------------------------------------

    def begin(self, run: str, phases: dict[str, TrainPhase]) -> None:
        """Find the directory and take it, and give the experiment's own policy its session."""
        policies = [(phase.label, policy_of(phase._checkpointing)) for phase in phases.values()]
        root = self._root(policies)
        own = policy_of(self._experiment._exp_checkpointing)
        if self._for_phases is None and own is None and not any(policy for _, policy in policies) and phases:
            if root is None:
                logger.warning(
                    "%r has no directory, and nothing is saved: pass one to enable(), or to set_checkpoint_dir()",
                    self._experiment.label,
                )
            else:  # the experiment says nothing of checkpoints: its phases save by the default policy
                self._for_phases = self._settings.default
        if root is not None:
            folders = [_own_place(policy) or root / label for label, policy in policies if policy is not None]
            release(root)
            also, share = [str(each) for each in [root, *folders]], self._settings.share_directory
            self.directory = ExperimentDirectory(root, run, also=also, share=share)
            _open[str(root.absolute())] = self
            self._hooks = Hooks(self.directory)
        if own is not None:
            policy = attach_to_experiment(IN_EXPERIMENT.check(own))
            folder = _own_place(policy) or root
            self._trust(policy)
            self._by_path[EXPERIMENT] = Session(
                policy, "experiment", self._experiment.label, self.directory, folder
            )

    def _root(self, policies: list[tuple[str, Checkpointing | None]]) -> Path | None:
        own = getattr(self._experiment._exp_checkpointing, "directory", None)
        found = [self._settings.directory, own, self._experiment._checkpoint_dir]
        found += [policy.directory for _, policy in policies if policy is not None and policy.mode == "disk"]
        return next((Path(place(each)) for each in found if each is not None), None)

    def add(self, path: str, phase: Any) -> None:
        """Give the policy of a training phase its session, if it has a policy, and none yet."""
        if path in self._by_path:
            return
        if phase._checkpointing is None and self._for_phases is not None:
            phase._checkpointing = attach_to_training(self._for_phases)
        policy = policy_of(phase._checkpointing)
        if policy is None:
            return
        mine = attach_to_training(IN_PHASES.check(policy))
        settle_mode(mine, on_disk=self.directory is not None)
        if mine is not policy:  # it serves another phase, too: each has a ledger of its own
            phase._checkpointing = independent(phase._checkpointing, mine)
        folder = _own_place(mine) or (self.directory and Path(self.directory.path) / phase.label)
        self._by_path[path] = Session(mine, "train", phase.label, self.directory, folder or None)
        self._trust(mine)

    def _trust(self, policy: Checkpointing) -> None:
        if self.directory is not None:
            self.directory.share_with(policy.write.trusted)

    @property
    def excluded(self) -> tuple[str, ...]:
        """What the policies leave out of checkpoints: patterns of state paths."""
        patterns = [each for session in self._by_path.values() for each in session.policy.exclude]
        return tuple(dict.fromkeys(patterns))

    def close(self) -> None:
        if self.directory is not None and self.directory.is_open:
            self.directory.close()

    # --- saving -------------------------------------------------------------------------------------

    def heeding(self) -> AbstractContextManager[None]:
        """Inside, signals and requests to save are heard."""
        if self.directory is None:
            return nullcontext()
        return self.directory.calls.heeding([session.policy for session in self._by_path.values()])

    def announce(
        self,
        path: str,
        moment: Moment,
        parts: Callable[[], dict[str, Any]],
        ahead: Callable[[], Ahead],
        metrics: Mapping[str, float],
    ) -> None:
        """At a hook of the phase at `path`, or of the experiment (`EXPERIMENT`): save if its own policy says so.

        In memory it is what ModularML itself would keep there.
        """
        session = self._by_path[path]
        if session.policy.mode == "memory":
            parts = lambda: memory_state(self._experiment.model_graph)  # noqa: E731
        self._hooks.prepare(moment.hook)
        self._hooks.announce(moment, [session], parts, ahead=ahead, metrics=metrics)

    def rescue(self, err: BaseException) -> None:
        """Training has failed: save its last complete step, if its policy says so."""
        self._hooks.last_step.rescue(err)

    # --- what they know -----------------------------------------------------------------------------

    def has(self, path: str) -> bool:
        """Whether there is a policy for the phase at `path`, or for the experiment (`EXPERIMENT`)."""
        return path in self._by_path

    @property
    def wants_finite(self) -> bool:
        """Whether a policy minds divergence: then a checkpoint that was saved after it is not one to resume from."""
        return any(session.watch.shuns_infinity for session in self._by_path.values())

    @property
    def counters(self) -> dict[str, Any]:
        return {path: session.policy.get_counters() for path, session in self._by_path.items()}

    def fill_ledgers(self, counters: Mapping[str, Any], record: Any) -> None:
        """Let each policy know what it had saved when `record` was."""
        assert self.directory is not None
        own = self.directory.own()
        for path, session in self._by_path.items():
            session.resume(counters.get(path, {}), own, record)

    @property
    def available(self) -> dict[str, Path]:
        """Every checkpoint that the policies know of, as ModularML names them."""
        found: dict[str, Path] = {}
        for path, session in self._by_path.items():
            policy = session.policy
            for key in policy.keys_by_age if policy.mode == "disk" else ():
                place = policy.get_path(key)
                if place is not None:
                    name = place.name.removesuffix(bundle.SUFFIX)
                    found[name if path == EXPERIMENT else f"{session.label}/{name}"] = place
        return found


def train_phases(units: list[Any], above: str = "") -> dict[str, TrainPhase]:
    """All training phases below these units, by path."""
    found: dict[str, TrainPhase] = {}
    for unit in units:
        if isinstance(unit, PhaseGroup):
            found |= train_phases(unit.all, f"{above}{unit.label}/")
        elif isinstance(unit, TrainPhase):
            found[f"{above}{unit.label}"] = unit
    return found


_open: dict[str, Sessions] = {}
"""Who holds which directory in this process."""


def release(place: Path) -> None:
    """Let go of a directory that an experiment of this process has held, and that does not run now."""
    sessions = _open.pop(str(place.absolute()), None)
    if sessions is not None and not sessions.is_in_use:
        sessions.close()


def close_all() -> None:
    for sessions in [*_open.values()]:
        sessions.close()
    _open.clear()
