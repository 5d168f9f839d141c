"""`torch_checkpointing`, Meta's newer library, without an accelerator: a stager thread and a writing process."""

from __future__ import annotations

from concurrent.futures import Future
from pathlib import Path
from typing import Any

from torch_checkpointing.checkpoint_manager import CheckpointManager
from torch_checkpointing.config import SyncCheckpointSaverConfig
from torch_checkpointing.storage.filesystem import LocalFileSystemStorageConfig

from ..states import State, fill
from ._contender import Loading, Saving

# With its default, direct writes, 0.1.1 fails on ext4: it writes memory that is not aligned (EINVAL).
_STORAGE = LocalFileSystemStorageConfig(use_direct_io=False)


class _Async:
    """Blocked until it is staged: only then may the state be changed without its `lock()`."""

    def __init__(self) -> None:
        self._manager = CheckpointManager(CheckpointManager.Config(storage_config=_STORAGE))
        self._under_way: Future[Any] | None = None
        self._root = Path()

    def begin(self, root: Path) -> None:
        self._root = root

    def save(self, state: State, name: str) -> None:
        self.finish()
        self._under_way = self._manager.save(str(self._root / name), state)
        staged = self._manager._staging_future
        if staged is not None:
            staged.result()

    def finish(self) -> None:
        under_way, self._under_way = self._under_way, None
        if under_way is not None:
            under_way.result()

    def close(self) -> None:
        self._manager.close()


def _into(root: Path, name: str, live: State) -> None:
    config = CheckpointManager.Config(save=SyncCheckpointSaverConfig(), storage_config=_STORAGE)
    manager = CheckpointManager(config)
    loaded = manager.load(str(root / name), into=live)
    fill(live, {key: loaded[key] for key in live})
    manager.close()


SAVINGS = (Saving("torch_checkpointing", _Async, durable=False, scenarios=frozenset({"S1", "S5"})),)
LOADINGS = (Loading("torch_checkpointing", "torch_checkpointing", into=_into),)
