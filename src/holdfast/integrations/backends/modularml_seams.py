"""Every place where ModularML is touched: its methods, wrapped, until they are put back.

Each is a public class of ModularML with the name of its method and what is called around it. Private names
are tested for each version that is known.
"""

# pyright: reportMissingImports=false

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import torch
from modularml.callbacks.early_stopping import EarlyStopping
from modularml.core.experiment.checkpointing import Checkpointing as Theirs
from modularml.core.experiment.experiment import Experiment
from modularml.core.experiment.experiment_context import ExperimentContext
from modularml.core.experiment.phases.train_phase import TrainPhase
from modularml.core.models.torch_wrapper import TorchModelWrapper
from modularml.core.topology.model_graph import ModelGraph

from ...errors import UsageError
from . import modularml_by_hand as by_hand
from .modularml_graph import in_order
from .modularml_rules import ASKED, rule_of
from .modularml_run import Held, Settings, close_all
from .modularml_values import Decoder

settings: Settings | None = None
_held: WeakKeyDictionary[Any, Held] = WeakKeyDictionary()
_originals: list[tuple[type, str, Any]] = []


def held_by(experiment: Any) -> Held | None:
    return _held.get(experiment)


def switch_on(wanted: Settings) -> None:
    global settings
    if settings is None:
        for owner, name, around in SEAMS:
            _wrap(owner, name, around)
        for name in ASKED:
            _put(Theirs, name, _asking(name))
        _put(Theirs, "saved_keys", property(lambda given: _rule(given).saved_keys))
        _put(Experiment, "available_checkpoints", property(_available))
    settings = wanted


def switch_off() -> None:
    global settings
    settings = None
    while _originals:
        owner, name, original = _originals.pop()
        setattr(owner, name, original)
    close_all()
    _held.clear()


def _put(owner: type, name: str, value: Any) -> None:
    _originals.append((owner, name, vars(owner)[name]))
    setattr(owner, name, value)


def _wrap(owner: type, name: str, around: Callable[..., Any]) -> None:
    original = vars(owner)[name]

    @functools.wraps(original)
    def wrapper(*args: Any, **options: Any) -> Any:
        return around(original, *args, **options)

    _put(owner, name, wrapper)


def _hold(experiment: Any) -> Held:
    if experiment not in _held:
        assert settings is not None
        _held[experiment] = Held(experiment, settings)
    return _held[experiment]


def _active() -> Held | None:
    """Of the experiment that runs: what is below it does not know it."""
    experiment = ExperimentContext.get_active().get_experiment()
    return None if experiment is None else _held.get(experiment)


# --- Experiment ---------------------------------------------------------------------------------------


def _run(original: Any, self: Any, **options: Any) -> Any:
    return _hold(self).call(lambda: original(self, **options), [])


def _run_unit(original: Any, self: Any, *args: Any, **options: Any) -> Any:
    unit = args[0] if args else next(options[name] for name in ("phase", "group") if name in options)
    return _hold(self).call(lambda: original(self, *args, **options), [unit])


def _execute_phase(original: Any, self: Any, phase: Any, **options: Any) -> Any:
    held = _held.get(self)
    if held is None:
        return original(self, phase, **options)
    return held.run_phase(lambda: original(self, phase, **options), phase)


def _execute_group(original: Any, self: Any, group: Any, **options: Any) -> Any:
    held = _held.get(self)
    if held is None:
        return original(self, group, **options)
    return held.run_group(lambda: original(self, group, **options), group)


def _execute(original: Any, self: Any, phase: Any, **options: Any) -> Any:
    held = _held.get(self)
    if held is None:
        return original(self, phase, **options)
    held.begin_work()
    results = original(self, phase, **options)
    held.note_results(phase, results)
    return results


def _preview(original: Any, self: Any, unit: Any = None, **options: Any) -> Any:
    """What it documents: nothing is changed, if the phase fails, too."""
    given = options.pop("phase", None) or options.pop("group", None) or unit
    with _reverting(self):
        return original(self, given, **options)


@contextmanager
def _reverting(experiment: Any) -> Iterator[None]:
    graph = experiment.model_graph
    before = None if graph is None else graph.get_state()
    try:
        yield
    except BaseException:
        if graph is not None and before is not None:
            graph.set_state(before)
        raise


def _save_experiment(
    original: Any, self: Any, name: str, *, overwrite: bool = False, meta: dict[str, Any] | None = None
) -> Path:
    if self._checkpoint_dir is None:
        return original(self, name, overwrite=overwrite, meta=meta)  # which says what is missing
    held = _hold(self)
    parts = held.parts() | ({} if meta is None else {"meta": meta})
    path = by_hand.save(
        Path(self._checkpoint_dir) / name, parts, held, overwrite=overwrite, kind="experiment"
    )
    self._checkpoints[name] = path
    return path


def _restore_experiment(original: Any, self: Any, name_or_path: str | Path) -> None:
    known = _available(self).get(str(name_or_path), name_or_path)
    place = by_hand.bundle_at(known)
    if place is None:
        return original(self, name_or_path)
    held = _hold(self)
    if held.directory is not None:
        held.directory.writer.settle()
    with by_hand.open_checkpoint(place) as checkpoint:
        tree: Any = checkpoint.tree()
        whole = checkpoint.record.kind == "experiment" and "run" in tree
        saved = {name: checkpoint[name] for name in ("history", "finished", "run") if whole}
    by_hand.restore_graph(self.model_graph, place)
    if "random" in tree:
        by_hand.restore_random(place)
    if whole:
        self._history = [Decoder(held.nodes).decode(each) for each in saved["history"]]
        held.enter_history(saved["finished"])
    return None


def _available(self: Any) -> dict[str, Path]:
    held = _held.get(self)
    return dict(self._checkpoints) | ({} if held is None else held.available)


# --- ModelGraph ---------------------------------------------------------------------------------------


def _train_step(original: Any, self: Any, ctx: Any, *args: Any, **options: Any) -> Any:
    held = _active()
    if held is None:
        return original(self, ctx, *args, **options)
    return held.train_step(lambda: original(self, ctx, *args, **options), ctx)


def _set_state(original: Any, self: Any, state: dict[str, Any]) -> None:
    """From a copy: an optimizer would train on in the snapshot's own tensors.

    What a rule of ours has kept in memory is data: who is connected to whom is left as it is.
    """
    state = deepcopy(state)
    for node_id, each in state.get("nodes", {}).items():
        each.setdefault("super", self.nodes[node_id].get_state()["super"])
    original(self, state)


def _select_parameters(original: Any, self: Any, *args: Any, **options: Any) -> Any:
    return in_order(self, original(self, *args, **options))


def _save_graph(
    original: Any, self: Any, filepath: Path, *, overwrite: bool = False, meta: dict[str, Any] | None = None
) -> Path:
    parts = by_hand.graph_parts(self) | ({} if meta is None else {"meta": meta})
    return by_hand.save(Path(filepath), parts, _active(), overwrite=overwrite, kind="train")


def _restore_graph(original: Any, self: Any, filepath: Path) -> Any:
    place = by_hand.bundle_at(filepath)
    if place is None:
        return original(self, filepath)
    by_hand.restore_graph(self, place)
    return self


def _get_weights(original: Any, self: Any) -> dict[str, Any]:
    """As arrays, but for dtypes that NumPy lacks: those are copied as tensors."""
    if not self.is_built:
        return {}
    return {name: _array(each.detach().cpu()) for name, each in self.model.state_dict().items()}


def _array(tensor: torch.Tensor) -> Any:
    try:
        return tensor.numpy()
    except TypeError:
        return tensor.clone()


# --- TrainPhase, Checkpointing, EarlyStopping ---------------------------------------------------------


def _iterate(original: Any, self: Any, *, results: Any = None, **options: Any) -> Any:
    held = _active()
    if held is not None:
        held.enter_loop(self, results)
    return original(self, results=results, **options)


def _build_samplers(original: Any, self: Any, **options: Any) -> Any:
    executions = original(self, **options)
    held = _active()
    return executions if held is None else held.note_batches(self, executions)


def _invoke(
    original: Any, self: Any, hook: str, *, experiment: Any, epoch_idx: int = 0, batch_idx: int = 0
) -> None:
    held = _held.get(experiment)
    if held is None:
        original(self, hook, experiment=experiment, epoch_idx=epoch_idx, batch_idx=batch_idx)
    else:
        held.announce(self, hook, epoch_idx, batch_idx)


def _construct(original: Any, self: Any, *args: Any, **options: Any) -> None:
    """Say at once which value makes no sense."""
    original(self, *args, **options)
    rule_of(self)


def _never(original: Any, self: Any, phase: Any) -> bool:
    """Early stopping keeps the best state itself: a rule may have given it up, or have saved at another moment."""
    return False


def _rule(given: Any) -> Any:
    rule = rule_of(given)
    if rule is None:
        raise UsageError("there is no rule")
    return rule


def _asking(name: str) -> Callable[..., Any]:
    original = vars(Theirs)[name]

    @functools.wraps(original)
    def asking(self: Any, *args: Any, **options: Any) -> Any:
        return getattr(_rule(self), name)(*args, **options)

    return asking


SEAMS: tuple[tuple[type, str, Callable[..., Any]], ...] = (
    (Experiment, "run", _run),
    (Experiment, "run_phase", _run_unit),
    (Experiment, "run_group", _run_unit),
    (Experiment, "_execute_phase_with_meta", _execute_phase),
    (Experiment, "_execute_group_with_meta", _execute_group),
    (Experiment, "_execute_training", _execute),
    (Experiment, "_execute_evaluation", _execute),
    (Experiment, "_execute_fit", _execute),
    (Experiment, "preview_phase", _preview),
    (Experiment, "preview_group", _preview),
    (Experiment, "save_checkpoint", _save_experiment),
    (Experiment, "restore_checkpoint", _restore_experiment),
    (ModelGraph, "train_step", _train_step),
    (ModelGraph, "set_state", _set_state),
    (ModelGraph, "_select_optimizer_parameters", _select_parameters),
    (ModelGraph, "save_checkpoint", _save_graph),
    (ModelGraph, "restore_checkpoint", _restore_graph),
    (TorchModelWrapper, "get_weights", _get_weights),
    (TrainPhase, "iter_execution", _iterate),
    (TrainPhase, "_build_sampler_executions", _build_samplers),
    (TrainPhase, "_invoke_checkpointing", _invoke),
    (Theirs, "__init__", _construct),
    (EarlyStopping, "_has_phase_checkpointing", _never),
)
