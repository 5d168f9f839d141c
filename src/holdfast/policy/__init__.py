"""When to save, under what name, how many to keep, and which checkpoints exist: `Checkpointing`."""

from ._attach import attach_to_experiment as attach_to_experiment
from ._attach import attach_to_training as attach_to_training
from ._attach import training_directory as training_directory
from ._cadence import Interval as Interval
from ._cadence import Spent as Spent
from ._cadence import daly_interval_s as daly_interval_s
from ._cadence import estimate as estimate
from ._cadence import interval as interval
from ._cadence import is_affordable as is_affordable
from ._cadence import is_timed as is_timed
from ._cadence import timed_reason as timed_reason
from ._checkpointing import Checkpointing as Checkpointing
from ._context import EXPERIMENT_HOOKS as EXPERIMENT_HOOKS
from ._context import EXPERIMENT_NAME_TEMPLATE as EXPERIMENT_NAME_TEMPLATE
from ._context import EXPERIMENT_PLACEHOLDERS as EXPERIMENT_PLACEHOLDERS
from ._context import TRAINING_HOOKS as TRAINING_HOOKS
from ._context import TRAINING_NAME_TEMPLATE as TRAINING_NAME_TEMPLATE
from ._context import TRAINING_PLACEHOLDERS as TRAINING_PLACEHOLDERS
from ._default import default_policy as default_policy
from ._judge import Evicted as Evicted
from ._judge import Saved as Saved
from ._judge import Verdict as Verdict
from ._judge import in_turn as in_turn
from ._judge import judge as judge
from ._judge import to_thin as to_thin
from ._judge import unmeasured as unmeasured
from ._keep import Direction as Direction
from ._keep import Keep as Keep
from ._keep import KeepBest as KeepBest
from ._keep import KeepEvery as KeepEvery
from ._keep import KeepLast as KeepLast
from ._keep import is_sick as is_sick
from ._keys import Key as Key
from ._labels import check_label as check_label
from ._labels import check_name as check_name
from ._limits import Limits as Limits
from ._names import experiment_key as experiment_key
from ._names import experiment_name as experiment_name
from ._names import training_key as training_key
from ._names import training_name as training_name
from ._options import Options as Options
from ._values import directory_path as directory_path

__all__ = [
    "EXPERIMENT_HOOKS",
    "EXPERIMENT_NAME_TEMPLATE",
    "EXPERIMENT_PLACEHOLDERS",
    "TRAINING_HOOKS",
    "TRAINING_NAME_TEMPLATE",
    "TRAINING_PLACEHOLDERS",
    "Checkpointing",
    "Direction",
    "Evicted",
    "Interval",
    "Keep",
    "KeepBest",
    "KeepEvery",
    "KeepLast",
    "Key",
    "Limits",
    "Options",
    "Saved",
    "Spent",
    "Verdict",
    "attach_to_experiment",
    "attach_to_training",
    "check_label",
    "check_name",
    "daly_interval_s",
    "default_policy",
    "directory_path",
    "estimate",
    "experiment_key",
    "experiment_name",
    "in_turn",
    "interval",
    "is_affordable",
    "is_sick",
    "is_timed",
    "judge",
    "timed_reason",
    "to_thin",
    "training_directory",
    "training_key",
    "training_name",
    "unmeasured",
]
