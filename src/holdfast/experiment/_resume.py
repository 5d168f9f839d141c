"""Resuming: choose the checkpoint, check the plan, restore everything, and judge how exact that was."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from .. import bundle, state
from ..errors import PlanMismatchError, UsageError
from ..records import VARIABLES, Node
from ..runtime import PLACES, Origin, Resumption, SavedState, check_override, resume_from, settle
from . import _plan
from ._phases import TrainPhase, walk
from ._saving import EXPERIMENT

if TYPE_CHECKING:
    from ._execution import Execution

_PARTS = {"run", "plan", "phase", "data", "results", "callbacks", "counters", "history", "random"}


def load(
    execution: Execution, origin: Origin, override: Sequence[str] | None
) -> tuple[Resumption, Mapping[str, Any]] | None:
    """Restore the newest complete checkpoint (or the requested one) into the graph, the execution and its sessions.

    Returns the resumption and the saved state; None if `origin` is True and there is no checkpoint at all.
    `override=None`: the live optimizer is this run's own, and no script's.

    Raises:
        UsageError: the experiment has no directory.
        CheckpointNotFoundError: the requested one does not exist.
        DamagedError: it is damaged, and nothing was changed; or all are, with `origin=True`.
        PlanMismatchError, StateMismatchError: the plan or graph does not match the saved one.
    """
    directory, experiment, sessions = execution.directory, execution.experiment, execution.sessions
    if directory is None:
        raise UsageError(f"experiment {experiment.label!r} has no directory to resume from: pass directory=")
    plan = experiment.describe_plan(execution.sources)
    found = resume_from(
        *(directory, origin),
        lambda opened, verify, _: _load(execution, opened, plan, override, verify),
        finite_only=any(each.watch.shuns_infinity for each in sessions.values()),
    )
    if found is None:
        return None
    resumption, (saved, overridden, kept, graph, unsaved) = found
    resumption.keep(kept)
    resumption.add(
        [
            *saved["run"].get("lacking", ()),
            *overridden,
            *_plan.changed(saved["plan"], plan, saved["run"]["done"]),
        ]
    )
    resumption.lack(unsaved, execution.variables.is_ignored)
    if graph is not None:
        resumption.expect(graph, lambda: {"model_graph": experiment.graph})
    own = directory.own()
    for path, session in sessions.items():
        session.resume(saved["counters"].get(path, {}), own, resumption.report.record)
    execution.resumption = resumption
    return resumption, saved


class _Loaded(NamedTuple):
    """What was saved; sentences on options that were overridden and kept; the graph as it was saved; variables that it lacks."""

    saved: Mapping[str, Any]
    overridden: Sequence[str]
    kept: Sequence[str]
    graph: SavedState | None
    unsaved: Sequence[str]


def _load(
    execution: Execution,
    opened: bundle.Bundle,
    plan: Mapping[str, Mapping[str, Any]],
    override: Sequence[str] | None,
    verify: Literal["first", "streaming"],
) -> tuple[_Loaded, Sequence[str]]:
    """What came of it, and the paths of what it left out."""
    saved = read(opened)
    left: Sequence[str] = ()
    overridden: Sequence[str] = ()
    kept: Sequence[str] = ()
    saved_graph = None
    check_owner(execution, opened, saved)
    run, loop, graph = saved["run"], saved["phase"], execution.experiment.graph
    epoch = loop["epoch"] + loop["in_epoch"] if loop else 0
    done, entered = [path for path in run["done"] if path], [path for path in run["entered"] if path]
    _plan.check_fits(saved["plan"], plan, done, entered, epoch)
    if graph is not None:
        if "model_graph" not in opened.tree:
            raise PlanMismatchError(["the checkpoint has no model graph, but the experiment has one"])
        script = graph.options
        check_override(override or (), script)
        restored = state.restore(opened, {"model_graph": graph}, verify=verify, keep=execution.excluded)
        left = restored.kept
        schedulers = [] if graph.scheduler is None else [graph.scheduler]
        if override is not None:
            execution.options, overridden, kept = settle(
                graph.optimizers, schedulers, then=run["options"], script=script, override=override
            )
        saved_graph = SavedState.of(opened, ["model_graph"], [*left, *(PLACES if overridden else [])])
    execution.set_state(saved, opened.record.run)
    _reopen(execution)
    unsaved = execution.variables.take(opened, _tree_of(opened), run.get("variables"))
    return _Loaded(saved, overridden, kept, saved_graph, unsaved), left


def read(opened: bundle.Bundle) -> Mapping[str, Any]:
    """What a checkpoint holds of the experiment, except for the graph.

    Raises:
        DamagedError: it is not what was saved.
        PlanMismatchError: it does not hold an experiment.
    """
    tree = _tree_of(opened)
    lacking = [
        path for path in state.all_left_out(tree) if not path.startswith(("model_graph/", f"{VARIABLES}/"))
    ]
    if lacking:
        raise PlanMismatchError(
            [f"{opened.path} leaves out {path!r}, and no run resumes without it" for path in lacking]
        )
    # One rebuild for all parts, so that arrays that were one stay one.
    return state.rebuild(opened, {name: node for name, node in tree.items() if name in _PARTS})


def _tree_of(opened: bundle.Bundle) -> Mapping[str, Node]:
    tree = opened.tree
    if not isinstance(tree, dict) or not tree.keys() >= _PARTS:
        raise PlanMismatchError([f"{opened.path} does not hold an experiment"])
    return tree


def check_owner(execution: Execution, opened: bundle.Bundle, saved: Mapping[str, Any]) -> None:
    """Check that the checkpoint is of this experiment, with as many callbacks.

    Raises:
        PlanMismatchError: it is of another experiment, or the number of callbacks differs.
    """
    then, now = saved["run"]["label"], execution.experiment.label
    if then != now:
        raise PlanMismatchError([f"{opened.path} is of experiment {then!r}, and this is {now!r}"])
    before, after = len(saved["callbacks"][EXPERIMENT]), len(execution.experiment.callbacks)
    if before != after:
        raise PlanMismatchError([f"the experiment had {before} callbacks and has {after}"])


def _reopen(execution: Execution) -> None:
    """More epochs than before re-enter the phase that was finished last, unless it had stopped early."""
    loop = execution.saved_loop
    if loop is None or loop["path"] not in execution.done:
        return
    after = execution.done[execution.done.index(loop["path"]) + 1 :]
    around = [path for path in after if path and not loop["path"].startswith(f"{path}/")]
    if around or any(path and not loop["path"].startswith(f"{path}/") for path in execution.entered):
        return  # something has been run on top of it
    unit = dict(walk(execution.units)).get(loop["path"])
    if isinstance(unit, TrainPhase) and loop["stop_reason"] is None and unit.n_epochs > loop["epoch"]:
        execution.reopen(loop["path"])
