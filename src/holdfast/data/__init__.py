"""Data in batches, in an order that continues exactly after a resume, even in the middle of an epoch."""

from .._shown import shown_in as _shown_in
from ._batch import Batch
from ._choose import BATCHES, batches_of, batches_of_all
from ._dataset import Dataset
from ._iterable import IterableBatches
from ._nodes import nodes_in
from ._order import order, sample_rng
from ._own import DatasetBatches
from ._parts import dataset_of, parts_of
from ._sampler import ResumableSampler
from ._several import Until
from ._source import (
    ANOTHER_BATCH,
    BatchSource,
    differences_of,
    foreign_state,
    kept_by_others,
    unlike,
    without_position,
)
from ._stateful import StatefulBatches, may_forget
from ._torch_loader import TorchLoaderBatches
from ._values.contents import digest_of_batch, digest_of_contents
from ._values.held import HeldValues, holds_samples, is_fixed
from ._values.samples import spread

__all__ = [
    "ANOTHER_BATCH",
    "BATCHES",
    "Batch",
    "BatchSource",
    "Dataset",
    "DatasetBatches",
    "HeldValues",
    "IterableBatches",
    "ResumableSampler",
    "StatefulBatches",
    "TorchLoaderBatches",
    "Until",
    "batches_of",
    "batches_of_all",
    "dataset_of",
    "differences_of",
    "digest_of_batch",
    "digest_of_contents",
    "foreign_state",
    "holds_samples",
    "is_fixed",
    "kept_by_others",
    "may_forget",
    "nodes_in",
    "order",
    "parts_of",
    "sample_rng",
    "spread",
    "unlike",
    "without_position",
]

_shown_in(__name__, *map(globals().__getitem__, __all__))
