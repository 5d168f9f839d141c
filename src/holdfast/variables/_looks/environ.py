"""The environment variables that a script sets or removes in its loop: named, and never saved, for a value may be a secret."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Final, final

_OF_LIBRARIES: Final = (
    *(
        "ACCELERATE_",
        "COLUMNS",
        "CUBLAS",
        "CUDA_",
        "CUDNN",
        "FSDP_",
        "GOMP_",
        "HF_",
        "HOLDFAST_",
        "JAX_",
        "JOBLIB_",
        "JPY_",
    ),
    *(
        "KERAS_",
        "KMP_",
        "LD_",
        "LIGHTNING_",
        "LINES",
        "LOKY_",
        "MASTER_",
        "MKL_",
        "MLFLOW_",
        "MPL",
        "NCCL_",
        "NUMBA_",
        "NUMEXPR",
    ),
    *(
        "OMP_",
        "OPENBLAS_",
        "PL_",
        "PYTEST_",
        "PYTORCH_",
        "QT_",
        "RAY_",
        "SDL_",
        "TF_",
        "TOKENIZERS_",
        "TORCH",
        "TRITON_",
    ),
    *("TRANSFORMERS_", "WANDB_", "XDG_", "XLA_", "_"),
)
"""How names begin that libraries set for themselves, when they are used first."""


@final
class Environ:
    """What has changed in `os.environ` since `begin`."""

    def __init__(self) -> None:
        self._began: Mapping[str, str] | None = None

    def begin(self) -> None:
        """The loop begins; of another one within it nothing is to be known."""
        if self._began is None:
            self._began = dict(os.environ)

    def changed(self, run: str) -> dict[str, str]:
        """A sentence for each variable that is not as it was, by the name under which it can be ignored (`{run}ignore`)."""
        if self._began is None:
            return {}
        now = dict(os.environ)
        names = [each for each in {**self._began, **now} if self._began.get(each) != now.get(each)]
        keys = {f"os.environ.{each}": each for each in names if not each.startswith(_OF_LIBRARIES)}
        return {key: _sentence(key, name, run) for key, name in keys.items()}


def _sentence(key: str, name: str, run: str) -> str:
    return (
        f"{key} has changed since the loop began, and environment variables are not saved: a resume finds os.environ[{name!r}] as "
        f"the script was started with. Keep what it says in a variable; {run}ignore({key!r}) if it decides nothing"
    )
