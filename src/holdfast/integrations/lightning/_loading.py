"""`load_from_checkpoint` of modules and data modules reads bundles, too: `best_model_path` of a `ModelCheckpoint`, or any other."""

from __future__ import annotations

import functools
import os
from typing import Any

import lightning.pytorch.core.saving as saving
import torch
from lightning.fabric.utilities.apply_func import move_data_to_device

from ._io import bundle_at, read_bundle


def read_bundles() -> None:
    """Let Lightning ask us first what a path is; all that is no bundle it loads by itself, as before."""
    module: Any = saving
    stock = module.pl_load

    @functools.wraps(stock)
    def load(path_or_url: Any, map_location: Any = None, **options: Any) -> Any:
        is_file = isinstance(path_or_url, str | os.PathLike) and os.path.isfile(path_or_url)
        place = bundle_at(path_or_url) if isinstance(path_or_url, str | os.PathLike) and not is_file else None
        if place is None:
            return stock(path_or_url, map_location, **options)
        checkpoint = read_bundle(place, for_a_new_module=True)
        is_device = isinstance(map_location, str | torch.device)
        return move_data_to_device(checkpoint, torch.device(map_location)) if is_device else checkpoint

    module.pl_load = load
