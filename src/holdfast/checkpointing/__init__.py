"""When to save, under what name, how many to keep, and which checkpoints exist: `Checkpointing`."""

from ._attach import attach_to_experiment as attach_to_experiment
from ._attach import attach_to_training as attach_to_training
from ._attach import training_directory as training_directory
from ._context import EXPERIMENT_HOOKS as EXPERIMENT_HOOKS
from ._context import EXPERIMENT_NAME_TEMPLATE as EXPERIMENT_NAME_TEMPLATE
from ._context import EXPERIMENT_PLACEHOLDERS as EXPERIMENT_PLACEHOLDERS
from ._context import TRAINING_HOOKS as TRAINING_HOOKS
from ._context import TRAINING_NAME_TEMPLATE as TRAINING_NAME_TEMPLATE
from ._context import TRAINING_PLACEHOLDERS as TRAINING_PLACEHOLDERS
from ._keys import Key as Key
from ._labels import check_label as check_label
from ._labels import check_name as check_name
from ._names import experiment_key as experiment_key
from ._names import experiment_name as experiment_name
from ._names import training_key as training_key
from ._names import training_name as training_name
from ._options import Options as Options
from ._retention import Evicted as Evicted
from ._rule import Checkpointing as Checkpointing
