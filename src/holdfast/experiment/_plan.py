"""Whether a plan can resume from where another one was saved, and if not, what differs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..data import BatchSource, unlike
from ..errors import GraphError, PlanMismatchError, UsageError
from ._loss import outputs_needed
from ._phases import EvalPhase, FitPhase, Phase, PhaseGroup, TrainPhase, Unit, walk

if TYPE_CHECKING:
    from ._graph import ModelGraph

_MAY_GROW = "n_epochs"


def check_labels(units: Sequence[Unit]) -> None:
    """Labels are unique in an experiment, whatever their case: each is a folder and a name.

    Raises:
        UsageError: two units have one label, or their checkpoints could have one name.
    """
    seen: dict[str, str] = {}
    for path, unit in walk(units):
        label = unit.label.casefold()
        if label in seen:
            raise UsageError(
                f"the label {unit.label!r} is used twice ({seen[label]} and {path}); rename one of them"
            )
        seen[label] = path
    for label in seen:
        if f"{label}_start" in seen:
            raise UsageError(
                f"the labels {label!r} and '{label}_start' give checkpoints of one name; rename one"
            )


def prepare(units: Sequence[Unit], graph: ModelGraph | None, label: str) -> dict[str, BatchSource]:
    """Check all that can be known before training, and make the train phases' batch sources, by path.

    Raises:
        UsageError: labels, phases, graph and data do not fit together (GraphError if the graph is at fault).
    """
    check_labels(units)
    sources = {}
    for path, unit in walk(units):
        if isinstance(unit, PhaseGroup):
            continue
        if graph is None:
            raise UsageError(f"phase {path!r} needs a model graph, and experiment {label!r} has none")
        check_phase(unit, path, graph)
        if isinstance(unit, TrainPhase):
            sources[path] = unit.batches()
            check_batch_hooks(unit, path, sources[path])
    return sources


def check_phase(phase: Phase, path: str, graph: ModelGraph) -> None:
    """Check that the graph has what a phase needs.

    Raises:
        GraphError: it trains, and there is no optimizer; or it names a node that does not exist.
        UsageError: two losses or metrics have one label.
    """
    if isinstance(phase, FitPhase):
        wanted = [phase.node]
    elif isinstance(phase, EvalPhase):
        wanted = [*outputs_needed([*phase.losses, *phase.metrics], graph.labels), *phase.predictions]
    else:
        wanted = [*outputs_needed([*phase.losses, *phase.metrics], graph.labels), *phase.freeze]
        if phase.step is None:
            graph.require_optimizer()
    for label in wanted:
        if label not in graph:
            raise GraphError(f"phase {path!r} names node {label!r}; the graph has {', '.join(graph.labels)}")


def check_batch_hooks(phase: TrainPhase, path: str, source: BatchSource) -> None:
    """A checkpoint before a batch can repeat that batch, so there must be one.

    Raises:
        UsageError: the phase saves at `batch_start`, and its data cannot say how many batches they have.
    """
    policy = phase.checkpointing
    if policy is not None and "batch_start" in policy.save_on and source.num_batches is None:
        raise UsageError(
            f"phase {path!r} cannot save at 'batch_start': its data have no length; use 'batch_end'"
        )


def describe(units: Sequence[Unit], sources: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The plan as plain data, by path; `sources` are the train phases' batch sources."""
    plan = {}
    for path, unit in walk(units):
        plan[path] = unit.describe()
        if path in sources:
            plan[path]["data"] = sources[path].describe()
    return plan


def check_fits(
    saved: Mapping[str, Mapping[str, Any]],
    now: Mapping[str, Mapping[str, Any]],
    done: Sequence[str],
    entered: Sequence[str],
    epoch: int,
) -> None:
    """Finished units must still be there, in order; a half-finished one must be unchanged.

    Units that had not begun may be changed, added or removed. `epoch`: the half-finished one.

    Raises:
        PlanMismatchError: it names every difference.
    """
    begun = [path for path in saved if path in done or path in entered]
    problems = [
        f"{path!r} had been run or begun, and is no longer in the plan" for path in begun if path not in now
    ]
    problems += [
        f"{path!r} was a {saved[path]['kind']} phase and is a {now[path]['kind']} phase now"
        for path in begun
        if path in now and saved[path]["kind"] != now[path]["kind"]
    ]
    if not problems:
        ahead = [path for path in now if path not in entered][: len(done)]
        problems += [
            f"{path!r} is new, and stands before phases that had been run"
            for path in ahead
            if path not in done
        ]
        if [path for path in now if path in begun] != begun:
            problems.append(
                f"the order was {', '.join(begun)} and is {', '.join(path for path in now if path in begun)}"
            )
    for path in entered:
        if path in now and path in saved:
            problems += differences(path, saved[path], now[path], epoch)
    if problems:
        raise PlanMismatchError(problems)


def changed(
    saved: Mapping[str, Mapping[str, Any]], now: Mapping[str, Mapping[str, Any]], done: Sequence[str]
) -> list[str]:
    """What was run differently from the current plan: the run can resume, but not as if it had always been so."""
    found = []
    for path in done:
        if path in saved and path in now:
            others = {
                name: value for name, value in saved[path].items() if name not in (_MAY_GROW, "callbacks")
            }
            found += differences(path, others, now[path])
    return found


def differences(path: str, saved: Mapping[str, Any], now: Mapping[str, Any], epoch: int = 0) -> list[str]:
    """A sentence for each fact of a unit that is not what it was; `epoch`: the one that it was in."""
    found = []
    for name, value in saved.items():
        other = now.get(name)
        if name == _MAY_GROW:
            if other is not None and other < epoch:
                found.append(f"{path!r}: {epoch} epochs had been run, and the plan now has {other}")
        elif name == "attributes" and isinstance(value, Mapping):
            if others := unlike(value, other or {}):
                found.append(f"{path}: the values have changed: {', '.join(others)}")
        elif isinstance(value, Mapping) and isinstance(other, Mapping):
            found += differences(f"{path}: {name}", value, other, epoch)
        elif name == "digest" and None in (value, other):
            continue  # not known, or changed while it trained
        elif value != other:
            found.append(f"{path!r}: {name} was {value!r} and is {other!r}")
    return found
