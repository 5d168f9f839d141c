"""Going on: which checkpoint, does the plan fit, put everything back, and how exact that was."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from .. import bundle, fingerprint, state
from ..errors import (
    CheckpointDamagedError,
    CheckpointNotFoundError,
    DamagedError,
    PlanMismatchError,
    RestoreIncompleteError,
)
from ..records import CheckpointRecord
from ..session import ExperimentDirectory
from ..storage import LocalDisk
from . import _options, _plan
from ._phases import TrainPhase, Unit, walk

if TYPE_CHECKING:
    from ._execution import Execution
    from ._graph import ModelGraph

logger = logging.getLogger("holdfast")

_PARTS = {"run", "plan", "phase", "data", "results", "callbacks", "counters", "history", "random"}


@dataclass(slots=True)
class ResumeReport:
    """From where a run went on, and how exactly.

    Attributes:
        path, record: the checkpoint.
        set_aside: newer checkpoints that could not be used, or whose age nobody knows, and why.
        differences: what keeps the rest of the run from being exact, one sentence each.
    """

    path: str
    record: CheckpointRecord
    set_aside: list[str] = field(default_factory=list)
    differences: list[str] = field(default_factory=list)

    @property
    def verdict(self) -> str:
        """`"exact"`, or the first thing that differs."""
        return f"not exact: {self.differences[0]}" if self.differences else "exact"


def load(
    execution: Execution,
    directory: ExperimentDirectory,
    units: Sequence[Unit],
    plan: Mapping[str, Mapping[str, Any]],
    graph: ModelGraph | None,
    resume: Literal[True] | str | os.PathLike[str],
    override: Sequence[str] = (),
) -> tuple[ResumeReport, Mapping[str, Any]] | None:
    """Put the newest whole checkpoint (or the one asked for) into the graph and the execution.

    Returns the report and the saved state; None if `resume` is True and there is no checkpoint at all.

    Raises:
        CheckpointNotFoundError: the one asked for is not there.
        DamagedError: it is damaged, and nothing was changed; or all are, with `resume=True`.
        PlanMismatchError, StateMismatchError: plan or graph are not those that were saved.
    """
    set_aside: list[str] = []
    for listed in _candidates(directory, resume):
        try:
            if listed.problem:
                raise listed.problem
            with bundle.Bundle(directory.disk, listed.path, expected_id=_id(listed)) as opened:
                # The next older one overwrites what damage leaves half-filled; one that was asked for has none.
                verify = "streaming" if resume is True else "first"
                saved, kept = _load(execution, opened, units, plan, graph, override, verify)
                directory.go_on_from(opened)
        except (DamagedError, RestoreIncompleteError, CheckpointNotFoundError) as err:
            if resume is not True:
                raise
            logger.warning("set aside %s: %s", listed.path, err)
            set_aside.append(f"{listed.path}: {err}")
            continue
        record = opened.record
        report = ResumeReport(listed.path, record, set_aside)
        report.differences += [f"{path} is not in the checkpoint, and was left as it was" for path in kept]
        report.differences += fingerprint.differences(record.versions, fingerprint.versions())
        report.differences += fingerprint.differences(record.environment, fingerprint.environment())
        return report, saved
    if set_aside:
        raise CheckpointDamagedError(
            directory.path, "none of its checkpoints can be used; " + "; ".join(set_aside[:3])
        )
    return None


def _candidates(
    directory: ExperimentDirectory, resume: Literal[True] | str | os.PathLike[str]
) -> Iterator[bundle.Listed]:
    if resume is True:
        newest_first = directory.scan()[::-1]
        # Without a record nobody knows how old one is, so a damaged one is always worth a word.
        yield from (listed for listed in newest_first if isinstance(listed.problem, DamagedError))
        yield from (listed for listed in newest_first if not isinstance(listed.problem, DamagedError))
    else:
        yield find(directory.scan(), directory.path, os.fspath(resume))


def find(listed: Sequence[bundle.Listed], directory: str, name: str) -> bundle.Listed:
    """The checkpoint at a path, or of a name such as `pretrain/pretrain_epoch2` or `pretrain_epoch2`.

    An absolute path may lack its suffix: so are those elsewhere named in `available_checkpoints`.

    Raises:
        CheckpointNotFoundError: there is none.
    """
    given, name = name, name.rstrip("/")
    if name.endswith(bundle.SUFFIX):
        there = bundle.look(LocalDisk(), name)
        if there is not None:
            return there
        name = name.removesuffix(bundle.SUFFIX)
    wanted = f"{directory}/{name}{bundle.SUFFIX}"
    for each in listed:
        if each.path == wanted:
            return each
    same_name = [each for each in listed if os.path.basename(each.path) == f"{name}{bundle.SUFFIX}"]
    if (
        not same_name
        and os.path.isabs(name)
        and (there := bundle.look(LocalDisk(), f"{name}{bundle.SUFFIX}"))
    ):
        return there
    if not same_name:
        raise CheckpointNotFoundError(given, f"neither a path nor the name of a checkpoint in {directory}")
    return same_name[-1]


def _id(listed: bundle.Listed) -> str | None:
    return listed.record.id if listed.record else None


def _load(
    execution: Execution,
    opened: bundle.Bundle,
    units: Sequence[Unit],
    plan: Mapping[str, Mapping[str, Any]],
    graph: ModelGraph | None,
    override: Sequence[str],
    verify: Literal["first", "streaming"],
) -> tuple[Mapping[str, Any], Sequence[str]]:
    """What was saved, but for the graph, and the paths of what was left out of it."""
    saved = read(opened)
    kept: Sequence[str] = ()
    _check(execution, opened, saved, units, plan)
    if graph is not None:
        if "model_graph" not in opened.tree:
            raise PlanMismatchError(["the checkpoint has no model graph, and the experiment has one"])
        script = graph.options
        restored = state.restore(opened, {"model_graph": graph}, verify=verify, keep=execution.excluded)
        kept = restored.kept
        _options.settle(graph, saved["run"]["options"], override)
        execution.options = _options.merged(saved["run"]["options"], script, override)
    execution.set_state(saved)
    _reopen(execution, units)
    return saved, kept


def read(opened: bundle.Bundle) -> Mapping[str, Any]:
    """What a checkpoint holds of the experiment, but for the graph.

    Raises:
        DamagedError: it is not what was saved.
        PlanMismatchError: it holds no experiment.
    """
    tree = opened.tree
    if not isinstance(tree, dict) or not tree.keys() >= _PARTS:
        raise PlanMismatchError([f"{opened.path} holds no experiment"])
    lacking = [path for path in state.all_left_out(tree) if not path.startswith("model_graph/")]
    if lacking:
        raise PlanMismatchError(
            [f"{opened.path} leaves out {path!r}, and no run goes on without it" for path in lacking]
        )
    # One rebuild for all parts, so that arrays that were one stay one.
    return state.rebuild(opened, {name: node for name, node in tree.items() if name in _PARTS})


def _check(
    execution: Execution,
    opened: bundle.Bundle,
    saved: Mapping[str, Any],
    units: Sequence[Unit],
    plan: Mapping[str, Mapping[str, Any]],
) -> None:
    check_owner(execution, opened, saved)
    run, loop = saved["run"], saved["phase"]
    epoch = loop["epoch"] + loop["in_epoch"] if loop else 0
    done, entered = [path for path in run["done"] if path], [path for path in run["entered"] if path]
    _plan.check_fits(saved["plan"], plan, done, entered, epoch)


def check_owner(execution: Execution, opened: bundle.Bundle, saved: Mapping[str, Any]) -> None:
    """The checkpoint must be of this experiment, with as many callbacks.

    Raises:
        PlanMismatchError: it is of another one.
    """
    label = saved["run"]["label"]
    if label != execution.label:
        raise PlanMismatchError(
            [f"{opened.path} is of experiment {label!r}, and this is {execution.label!r}"]
        )
    execution.check_callbacks(saved)


def _reopen(execution: Execution, units: Sequence[Unit]) -> None:
    """More epochs than before re-enter the phase that was finished last, unless it had stopped early."""
    loop = execution.saved_loop
    if loop is None or loop["path"] not in execution.done:
        return
    after = execution.done[execution.done.index(loop["path"]) + 1 :]
    around = [path for path in after if path and not loop["path"].startswith(f"{path}/")]
    if around or any(path and not loop["path"].startswith(f"{path}/") for path in execution.entered):
        return  # something has been run on top of it
    unit = dict(walk(units)).get(loop["path"])
    if isinstance(unit, TrainPhase) and loop["stop_reason"] is None and unit.n_epochs > loop["epoch"]:
        execution.reopen(loop["path"])
