"""Data in batches, in an order that continues exactly after a resume, even in the middle of an epoch."""

from .._shown import shown_in as _shown_in
from ._batch import Batch as Batch
from ._choose import BATCHES as BATCHES
from ._choose import batches_of as batches_of
from ._dataset import Dataset as Dataset
from ._iterable import IterableBatches as IterableBatches
from ._order import order as order
from ._order import sample_rng as sample_rng
from ._own import DatasetBatches as DatasetBatches
from ._sampler import ResumableSampler as ResumableSampler
from ._source import ANOTHER_BATCH as ANOTHER_BATCH
from ._source import BatchSource as BatchSource
from ._source import differences_of as differences_of
from ._stateful import StatefulBatches as StatefulBatches
from ._torch_loader import TorchLoaderBatches as TorchLoaderBatches

__all__ = [
    "ANOTHER_BATCH",
    "BATCHES",
    "Batch",
    "BatchSource",
    "Dataset",
    "DatasetBatches",
    "IterableBatches",
    "ResumableSampler",
    "StatefulBatches",
    "TorchLoaderBatches",
    "batches_of",
    "differences_of",
    "order",
    "sample_rng",
]

_shown_in(__name__, *map(globals().__getitem__, __all__))
