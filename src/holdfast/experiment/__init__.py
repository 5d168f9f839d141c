"""Experiments: model graphs, the phases that train, measure and fit them, and runs that resume exactly."""

from ..runtime import ResumeReport as ResumeReport
from ..runtime import Table as Table
from ._callbacks import Callback as Callback
from ._callbacks import Context as Context
from ._callbacks import EarlyStopping as EarlyStopping
from ._experiment import Experiment as Experiment
from ._graph import ModelGraph as ModelGraph
from ._history import HistoryEntry as HistoryEntry
from ._loss import Averages as Averages
from ._loss import Loss as Loss
from ._loss import Metric as Metric
from ._nodes import MergeNode as MergeNode
from ._nodes import ModelNode as ModelNode
from ._phases import EvalPhase as EvalPhase
from ._phases import FitPhase as FitPhase
from ._phases import PhaseGroup as PhaseGroup
from ._phases import TrainPhase as TrainPhase
from ._progress import Progress as Progress
from ._results import PhaseResult as PhaseResult
from ._results import RunResults as RunResults

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
