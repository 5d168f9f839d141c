"""Holdfast checkpoints machine-learning experiments: kill a run at any instant and it resumes, bit for bit.

`import holdfast` is fast and imports no framework; a name is loaded when it is first used.
"""

from importlib import import_module as _import_module
from typing import TYPE_CHECKING as _TYPE_CHECKING
from typing import Any as _Any

from ._version import __version__ as __version__

if _TYPE_CHECKING:
    from .checkpoint import Checkpoint as Checkpoint
    from .checkpoint import archive as archive
    from .checkpoint import fork as fork
    from .checkpoint import open as open
    from .checkpoint import scan as scan
    from .compare import average as average
    from .compare import diff as diff
    from .data import Dataset as Dataset
    from .exchange import export as export
    from .exchange import import_checkpoint as import_checkpoint
    from .experiment import Callback as Callback
    from .experiment import EarlyStopping as EarlyStopping
    from .experiment import EvalPhase as EvalPhase
    from .experiment import Experiment as Experiment
    from .experiment import FitPhase as FitPhase
    from .experiment import Loss as Loss
    from .experiment import MergeNode as MergeNode
    from .experiment import Metric as Metric
    from .experiment import ModelGraph as ModelGraph
    from .experiment import ModelNode as ModelNode
    from .experiment import PhaseGroup as PhaseGroup
    from .experiment import TrainPhase as TrainPhase
    from .policy import Checkpointing as Checkpointing
    from .policy import Divergence as Divergence
    from .policy import Every as Every
    from .policy import KeepBest as KeepBest
    from .policy import KeepEvery as KeepEvery
    from .policy import KeepLast as KeepLast
    from .policy import Lazy as Lazy
    from .policy import MaxBytes as MaxBytes
    from .policy import MeanTimeBetweenFailures as MeanTimeBetweenFailures
    from .policy import Overhead as Overhead
    from .policy import Preemption as Preemption
    from .policy import Seconds as Seconds
    from .policy import Write as Write
    from .runtime import Resume as Resume
    from .runtime import Run as Run
    from .runtime import current_run as current_run
    from .runtime import load as load
    from .runtime import plan as plan
    from .runtime import prune as prune
    from .runtime import resumable as resumable
    from .runtime import save as save
    from .state import attributes as attributes
    from .state import capture as capture
    from .state import register_adapter as register_adapter
    from .state import register_type as register_type
    from .state import restore as restore
    from .verdict import Verdict as Verdict

_HOMES = {
    "policy": (
        *("Checkpointing", "Divergence", "Every", "KeepBest", "KeepEvery", "KeepLast", "Lazy", "MaxBytes"),
        *("MeanTimeBetweenFailures", "Overhead", "Preemption", "Seconds", "Write"),
    ),
    "checkpoint": ("Checkpoint", "archive", "fork", "open", "scan"),
    "compare": ("average", "diff"),
    "data": ("Dataset",),
    "exchange": ("export", "import_checkpoint"),
    "experiment": (
        *("Callback", "EarlyStopping", "EvalPhase", "Experiment", "FitPhase", "Loss", "MergeNode"),
        *("Metric", "ModelGraph", "ModelNode", "PhaseGroup", "TrainPhase"),
    ),
    "runtime": ("Resume", "Run", "current_run", "load", "plan", "prune", "resumable", "save"),
    "state": ("attributes", "capture", "register_adapter", "register_type", "restore"),
    "verdict": ("Verdict",),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "__version__",
    *(name for name in _HOME_OF if name != "open"),
]  # `import *` must not replace the built-in one


def __getattr__(name: str) -> _Any:
    if name in _HOME_OF:
        value = getattr(_import_module(f".{_HOME_OF[name]}", __name__), name)
        globals()[name] = value
        return value
    if name in _HOMES or name in ("errors", "records", "rng", "bundle", "storage", "crew"):
        return _import_module(f".{name}", __name__)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*__all__, "open"])
