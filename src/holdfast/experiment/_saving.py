"""What saves where in a run: the sessions of its policies, and the directory that they share."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from .. import bundle
from ..checkpoint import scan_if_there
from ..data import BatchSource
from ..harness import place
from ..policy import Checkpointing, reason, training_directory
from ..records import Moment
from ..runtime import ExperimentDirectory, Session
from ._phases import PhaseGroup, TrainPhase, Unit, walk

EXPERIMENT = ""  # the path of the experiment itself among its units


def folders(units: Sequence[Unit], directory: Path | None) -> dict[str, Path]:
    """Where each train phase whose policy saves to disk does so, by path.

    Raises:
        UsageError: a policy has no directory, and there is none to inherit.
    """
    found = {}
    for path, unit in walk(units):
        if isinstance(unit, TrainPhase) and unit.checkpointing is not None:
            folder = training_directory(unit.checkpointing, directory, unit.label)
            if folder is not None:
                found[path] = Path(place(folder))
    return found


@contextmanager
def held(places: Sequence[Path], run: str, *, share: bool = False) -> Iterator[ExperimentDirectory | None]:
    """The first of these directories, held for a run that saves to all of them; None if there is none."""
    if not places:
        yield None
        return
    with ExperimentDirectory(places[0], run, also=places[1:], share=share) as directory:
        yield directory


@contextmanager
def at_hand(place: Path, run: str, last: ExperimentDirectory | None) -> Iterator[ExperimentDirectory]:
    """The directory `last` that a run holds, or if that has ended, `place` held briefly."""
    if last is not None and last.is_open:
        yield last
        return
    with ExperimentDirectory(place, run) as directory:
        if last is not None:
            directory.pace = last.pace  # which the run stopped when it ended
        yield directory


def available(units: Sequence[Unit], directory: Path | None) -> dict[str, Path]:
    """The paths of all checkpoints there, oldest first, by their names in the experiment's directory."""
    places = [*([directory] if directory else []), *folders(units, directory).values()]
    found = {listed.path: listed for place in places for listed in scan_if_there(place) if listed.record}
    names = {}
    for path in [Path(listed.path) for listed in sorted(found.values(), key=bundle.by_age)]:
        is_inside = directory is not None and path.is_relative_to(directory)
        name = os.path.relpath(path, directory) if is_inside else str(path)
        names[name.removesuffix(bundle.SUFFIX)] = path
    return names


def sessions(
    units: Sequence[Unit],
    own: Checkpointing | None,
    label: str,
    folder: Path | None,
    directory: ExperimentDirectory | None,
) -> dict[str, Session]:
    """A session for each train phase that has a policy, by path; under `EXPERIMENT` that of the experiment's policy.

    `folder`: where the experiment itself saves. `label`: the experiment's. Bundles that a policy trusts are
    verified here, once.
    """
    where = folders(units, folder)
    made = {
        path: Session(unit.checkpointing, "train", unit.label, directory, where.get(path))
        for path, unit in walk(units)
        if isinstance(unit, TrainPhase) and unit.checkpointing is not None
    }
    if own is not None:
        made[EXPERIMENT] = Session(own, "experiment", label, directory, folder)
    if directory is not None:
        trusted = [place for session in made.values() for place in session.policy.write.trusted]
        directory.share_with(dict.fromkeys(trusted))
    return made


def refuse_taken(
    units: Sequence[Unit],
    sessions: Mapping[str, Session],
    sources: Mapping[str, BatchSource],
    done: Sequence[str],
    run: str,
) -> None:
    """Fail before training if a policy that must not overwrite would have to.

    Raises:
        CheckpointExistsError: a name that will be needed is taken.
        UsageError: a name that will be needed is invalid.
    """
    for path, unit in walk(units):
        if path in done:
            continue
        if path in sessions and isinstance(unit, TrainPhase):
            ahead = _in_phase(sessions[path].policy, unit, path, sources[path].num_batches, run)
            sessions[path].refuse_taken(ahead)
    if EXPERIMENT in sessions:
        policy = sessions[EXPERIMENT].policy
        sessions[EXPERIMENT].refuse_taken(_around(policy, [*walk(units)], done, run))


def _in_phase(
    policy: Checkpointing, phase: TrainPhase, path: str, num_batches: int | None, run: str
) -> Iterator[Moment]:
    """The moments at which a phase will save if it runs through all its epochs, where they can be known."""
    for hook in policy.save_on:
        for count, moment in enumerate(_occurrences(hook, phase, path, num_batches, run), start=1):
            if reason(policy.when, hook, count, None):
                yield moment


def _occurrences(
    hook: str, phase: TrainPhase, path: str, num_batches: int | None, run: str
) -> Iterator[Moment]:
    if hook in ("phase_start", "phase_end"):
        yield Moment(run=run, hook=hook, phase=path)
        return
    for epoch in range(phase.n_epochs):
        if hook in ("epoch_start", "epoch_end"):
            yield Moment(run=run, hook=hook, phase=path, epoch=epoch)
        else:
            for batch in range(num_batches or 0):
                yield Moment(run=run, hook=hook, phase=path, epoch=epoch, batch=batch)


def _around(
    policy: Checkpointing, plan: Sequence[tuple[str, Unit]], done: Sequence[str], run: str
) -> Iterator[Moment]:
    """The moments at which the experiment's policy will save, as far as hooks alone decide."""
    for end in ("start", "end"):
        counts: dict[str, int] = {}
        for path, unit in [(None, None), *plan]:
            kind = "experiment" if unit is None else "group" if isinstance(unit, PhaseGroup) else "phase"
            hook = f"{kind}_{end}"
            counts[hook] = counts.get(hook, 0) + 1
            if (path or EXPERIMENT) not in done and reason(policy.when, hook, counts[hook], None):
                yield Moment(run=run, hook=hook, phase=path)
