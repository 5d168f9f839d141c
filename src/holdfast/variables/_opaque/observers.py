"""Objects that only look at training, or help it along: what moves in them decides nothing."""

from __future__ import annotations

from functools import lru_cache
from typing import Final

_OBSERVERS: Final = frozenset(
    {
        "IPython",
        "__future__",
        "_pytest",
        "_weakref",
        "absl",
        "accelerate",
        "aim",
        "argparse",
        "asyncio",
        "clearml",
        "comet_ml",
        "concurrent.futures.process",
        "concurrent.futures.thread",
        "contextlib",
        "holdfast",
        "hypothesis",
        "importlib",
        "inspect",
        "jax._src.stages",
        "jaxlib",
        "json",
        "lightning.fabric.loggers",
        "lightning.pytorch.loggers",
        "logging",
        "loguru",
        "matplotlib",
        "mlflow",
        "multiprocessing.context",
        "multiprocessing.pool",
        "multiprocessing.synchronize",
        "neptune",
        "numba",
        "pathlib",
        "pluggy",
        "prometheus_client",
        "psutil",
        "pygame",
        "pytest",
        "pytorch_lightning.loggers",
        "re",
        "rich",
        "seaborn",
        "select",
        "selectors",
        "signal",
        "ssl",
        "structlog",
        "swanlab",
        "tempfile",
        "tensorboard",
        "tensorboardX",
        "tiktoken",
        "tokenizers",
        "torch._dynamo",
        "torch._ops",
        "torch.amp",
        "torch.autograd",
        "torch.cuda",
        "torch.distributed",
        "torch.profiler",
        "torch.utils.hooks",
        "torch.utils.tensorboard",
        "torchinfo",
        "tqdm",
        "traceback",
        "transformers.models",
        "transformers.tokenization_utils",
        "transformers.tokenization_utils_base",
        "transformers.tokenization_utils_fast",
        "typing",
        "unittest",
        "wandb",
        "warnings",
        "weakref",
    }
)
"""Their packages and modules."""
_OBSERVING: Final = frozenset(
    {
        "_thread.RLock",
        "_thread.lock",
        "builtins.PyCapsule",
        "csv.DictWriter",
        "_csv.writer",
        "threading.Barrier",
        "threading.BoundedSemaphore",
        "threading.Condition",
        "threading.Event",
        "threading.Semaphore",
        "threading._RLock",
    }
)
"""And some types of packages that have others, too."""


@lru_cache(maxsize=4096)
def is_observer(kind: type) -> bool:
    """Whether objects of this type only look at training, or run it."""
    parts = kind.__module__.split(".")
    if any(".".join(parts[: end + 1]) in _OBSERVERS for end in range(len(parts))):
        return True
    return any(f"{base.__module__}.{base.__qualname__}" in _OBSERVING for base in kind.__mro__)
