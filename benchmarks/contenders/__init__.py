"""Who takes part. Each file adapts one library; one that cannot be imported is skipped, visibly."""

from __future__ import annotations

from collections.abc import Iterable
from importlib import import_module

from ._contender import BlocksLater as BlocksLater
from ._contender import Loading as Loading
from ._contender import Saver as Saver
from ._contender import Saving as Saving

NOT_INSTALLED = "skipped"

_FILES = (
    *("torch_save", "holdfast", "holdfast_lazy", "safetensors", "dcp", "torch_checkpointing"),
    *("orbax", "joblib", "numpy_savez", "modularml", "limits"),
)


def gather(only: Iterable[str] = ()) -> tuple[list[Saving], list[Loading], list[str]]:
    """Savers and loaders in the order of their turns, and a line for each library that is missing.

    `only`: names of files; all by default.
    """
    savings: list[Saving] = []
    loadings: list[Loading] = []
    skipped: list[str] = []
    for file in tuple(only) or _FILES:
        try:
            module = import_module(f"{__name__}.{file}")
        except ImportError as err:
            skipped.append(f"{NOT_INSTALLED}: {file} ({err})")
            continue
        savings += module.SAVINGS
        loadings += module.LOADINGS
    return savings, loadings, skipped
