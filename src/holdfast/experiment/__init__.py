"""An experiment as a plan of phases over a graph of models, and all it needs to go on exactly."""

from ._callbacks import Callback as Callback
from ._callbacks import Context as Context
from ._callbacks import EarlyStopping as EarlyStopping
from ._graph import ModelGraph as ModelGraph
from ._loss import Loss as Loss
from ._loss import Metric as Metric
from ._nodes import MergeNode as MergeNode
from ._nodes import ModelNode as ModelNode
from ._progress import Progress as Progress
from ._results import PhaseResult as PhaseResult
from ._results import RunResults as RunResults
from ._results import Table as Table
