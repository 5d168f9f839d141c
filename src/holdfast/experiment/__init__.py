"""Experiments: model graphs, the phases that train, measure and fit them, and runs that resume exactly."""

from .._shown import shown_in as _shown_in
from ..runtime import ResumeReport, Table
from ._callbacks import Callback, Context, EarlyStopping
from ._experiment import Experiment
from ._graph import ModelGraph
from ._loss import Averages, Loss, Metric
from ._nodes import MergeNode, ModelNode
from ._phases import EvalPhase, FitPhase, PhaseGroup, TrainPhase
from ._progress import Progress
from ._results import HistoryEntry, PhaseResult, RunResults

__all__ = [
    "Averages",
    "Callback",
    "Context",
    "EarlyStopping",
    "EvalPhase",
    "Experiment",
    "FitPhase",
    "HistoryEntry",
    "Loss",
    "MergeNode",
    "Metric",
    "ModelGraph",
    "ModelNode",
    "PhaseGroup",
    "PhaseResult",
    "Progress",
    "ResumeReport",
    "RunResults",
    "Table",
    "TrainPhase",
]

_shown_in(__name__, *map(globals().__getitem__, __all__))
