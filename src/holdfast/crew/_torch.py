"""The crew of a `torch.distributed` job."""

from __future__ import annotations

import os
import sys
from itertools import count
from typing import Any

from ..errors import UsageError
from ._board import StoreBoard
from ._crew import Crew

_crews = count()


def torch_crew(*, timeout_s: float = 600.0) -> Crew:
    """The processes of the default group of `torch.distributed`, which talk through its store.

    Call it in every process, once `init_process_group` has been called there, and keep it: a crew serves any number of
    saves and restores.

    Args:
        timeout_s: how long, in seconds, rank 0 waits for the others in one step. They wait for it for twice as long.

    Raises:
        UsageError: there is no process group.
    """
    distributed: Any = sys.modules.get("torch.distributed")
    if distributed is None or not distributed.is_available() or not distributed.is_initialized():
        raise UsageError(
            "torch_crew() needs a process group: call torch.distributed.init_process_group() first."
        )
    store = distributed.distributed_c10d._get_default_store()
    if not hasattr(store, "clone"):
        raise UsageError(
            "torch_crew() needs a newer torch, in which a store can be cloned. With this one take a folder that all processes "
            "see: Crew(rank, size, FolderBoard(LocalDisk(), folder))."
        )
    # A store outlives a restart of its processes by torchrun, and so would the messages of those that were killed.
    attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    own = distributed.PrefixStore(f"holdfast/{attempt}/{next(_crews)}", store.clone())
    return Crew(distributed.get_rank(), distributed.get_world_size(), StoreBoard(own), timeout_s=timeout_s)
