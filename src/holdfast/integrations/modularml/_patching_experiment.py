"""What is called around the methods of ModularML's `Experiment`."""

# pyright: reportMissingImports=false

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from modularml.core.experiment.checkpointing import Checkpointing as Theirs
from modularml.core.experiment.experiment import Experiment

from ... import rng
from ...policy import Checkpointing, settle_mode
from . import _manual as manual
from ._holds import held_by, hold, if_held
from ._run import Held
from ._values import Decoder

POLICY = "checkpointing"
"""The name of an experiment's own policy in its config."""


def _run(original: Any, self: Any, **options: Any) -> Any:
    return hold(self).call(lambda: original(self, **options), [])


def _run_unit(original: Any, self: Any, *args: Any, **options: Any) -> Any:
    unit = args[0] if args else next(options[name] for name in ("phase", "group") if name in options)
    return hold(self).call(lambda: original(self, *args, **options), [unit])


def _execute_phase(held: Held, call: Any, self: Any, phase: Any, **options: Any) -> Any:
    return held.run_phase(call, phase)


def _execute_group(held: Held, call: Any, self: Any, group: Any, **options: Any) -> Any:
    return held.run_group(call, group)


def _execute(held: Held, call: Any, self: Any, phase: Any, **options: Any) -> Any:
    held.begin_work()
    results = call()
    held.note_results(phase, results)
    return results


def _preview(original: Any, self: Any, unit: Any = None, **options: Any) -> Any:
    """What it documents: nothing is changed, if the phase fails, too."""
    given = options.pop("phase", None) or options.pop("group", None) or unit
    graph = self.model_graph
    before = None if graph is None else graph.get_state()
    try:
        return original(self, given, **options)
    except BaseException:
        if graph is not None and before is not None:
            graph.set_state(before)
        raise


def _save_experiment(
    original: Any, self: Any, name: str, *, overwrite: bool = False, meta: dict[str, Any] | None = None
) -> Path:
    if self._checkpoint_dir is None:
        return original(self, name, overwrite=overwrite, meta=meta)  # which says what is missing
    held = hold(self)
    parts = held.position.parts() | ({} if meta is None else {"meta": meta})
    path = manual.save(Path(self._checkpoint_dir) / name, parts, held, overwrite=overwrite, kind="experiment")
    self._checkpoints[name] = path
    return path


def _restore_experiment(original: Any, self: Any, name_or_path: str | Path) -> None:
    known = available(self).get(str(name_or_path), name_or_path)
    place = manual.bundle_at(known)
    if place is None:
        return original(self, name_or_path)
    held = hold(self)
    if held.sessions.directory is not None:
        held.sessions.directory.writer.settle()
    with manual.open_checkpoint(place) as checkpoint:
        tree: Any = checkpoint.tree()
        is_run = checkpoint.record.kind == "experiment" and "run" in tree
        saved = {name: checkpoint[name] for name in ("history", "finished", "run") if is_run}
        random = checkpoint["random"] if "random" in tree else None
    manual.restore_graph(self.model_graph, place)
    if random is not None:
        rng.restore_state(dict(random))
    if is_run:
        self._history = [Decoder(held.position.nodes).decode(each) for each in saved["history"]]
        held.enter_history(saved["finished"])
    return None


def _set_checkpointing(original: Any, self: Any, checkpointing: Any) -> None:
    """An experiment saves to disk: this is what an unset mode means, before ModularML asks for the mode."""
    if isinstance(checkpointing, Checkpointing):
        settle_mode(checkpointing, on_disk=True)
    original(self, checkpointing)


def _get_config(original: Any, self: Any) -> dict[str, Any]:
    """With the experiment's own policy, which ModularML leaves out; it ignores the name when it reads."""
    policy = self._exp_checkpointing
    return original(self) | ({} if policy is None else {POLICY: policy.get_config()})


def _from_config(original: Any, cls: type, config: dict[str, Any]) -> Any:
    made = original(cls, config)
    if config.get(POLICY) is not None:
        made.set_checkpointing(Theirs.from_config(config[POLICY]))
    return made


def available(self: Any) -> dict[str, Path]:
    held = held_by(self)
    return dict(self._checkpoints) | ({} if held is None else held.sessions.available)


SEAMS: tuple[tuple[type, str, Callable[..., Any]], ...] = (
    (Experiment, "run", _run),
    (Experiment, "run_phase", _run_unit),
    (Experiment, "run_group", _run_unit),
    (Experiment, "_execute_phase_with_meta", if_held(_execute_phase)),
    (Experiment, "_execute_group_with_meta", if_held(_execute_group)),
    (Experiment, "_execute_training", if_held(_execute)),
    (Experiment, "_execute_evaluation", if_held(_execute)),
    (Experiment, "_execute_fit", if_held(_execute)),
    (Experiment, "set_checkpointing", _set_checkpointing),
    (Experiment, "preview_phase", _preview),
    (Experiment, "preview_group", _preview),
    (Experiment, "save_checkpoint", _save_experiment),
    (Experiment, "restore_checkpoint", _restore_experiment),
    (Experiment, "get_config", _get_config),
    (Experiment, "from_config", _from_config),
)
