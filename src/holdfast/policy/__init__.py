"""When to save, under what name, how many to keep, and which checkpoints exist: `Checkpointing`."""

from .._shown import shown_in as _shown_in
from ._attach import attach_to_experiment, attach_to_training, settle_mode, training_directory
from ._checkpointing import Checkpointing, Evicted
from ._conditions import (
    COME_AGAIN,
    TIMED,
    Every,
    Interval,
    MeanTimeBetweenFailures,
    Overhead,
    Seconds,
    Spent,
    When,
    daly_interval_s,
)
from ._context import (
    EXPERIMENT_HOOKS,
    EXPERIMENT_NAME_TEMPLATE,
    EXPERIMENT_PLACEHOLDERS,
    TRAINING_HOOKS,
    TRAINING_NAME_TEMPLATE,
    TRAINING_PLACEHOLDERS,
)
from ._divergence import Divergence
from ._judge import Saved, Verdict, in_turn, judge, to_thin, unmeasured
from ._keep import Direction, Keep, KeepBest, KeepEvery, KeepLast, MaxBytes, budget_of, is_nonfinite, joined
from ._keys import Key
from ._labels import check_label, check_name
from ._limits import Limits
from ._names import experiment_key, experiment_name, training_key, training_name
from ._preemption import Preemption
from ._values import directory_path, flag, num_bytes
from ._when import estimate, events, interval, largest_overhead, reason
from ._write import Lazy, Write

__all__ = [
    "COME_AGAIN",
    "EXPERIMENT_HOOKS",
    "EXPERIMENT_NAME_TEMPLATE",
    "EXPERIMENT_PLACEHOLDERS",
    "TIMED",
    "TRAINING_HOOKS",
    "TRAINING_NAME_TEMPLATE",
    "TRAINING_PLACEHOLDERS",
    "Checkpointing",
    "Direction",
    "Divergence",
    "Every",
    "Evicted",
    "Interval",
    "Keep",
    "KeepBest",
    "KeepEvery",
    "KeepLast",
    "Key",
    "Lazy",
    "Limits",
    "MaxBytes",
    "MeanTimeBetweenFailures",
    "Overhead",
    "Preemption",
    "Saved",
    "Seconds",
    "Spent",
    "Verdict",
    "When",
    "Write",
    "attach_to_experiment",
    "attach_to_training",
    "budget_of",
    "check_label",
    "check_name",
    "daly_interval_s",
    "directory_path",
    "estimate",
    "events",
    "experiment_key",
    "experiment_name",
    "flag",
    "in_turn",
    "interval",
    "is_nonfinite",
    "joined",
    "judge",
    "largest_overhead",
    "num_bytes",
    "reason",
    "settle_mode",
    "to_thin",
    "training_directory",
    "training_key",
    "training_name",
    "unmeasured",
]

_shown_in(__name__, *map(globals().__getitem__, __all__))
