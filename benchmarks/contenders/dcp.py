"""`torch.distributed.checkpoint` in one process: at once, and behind training in its three ways."""

from __future__ import annotations

import tempfile
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import torch.distributed as dist
from torch.distributed.checkpoint.default_planner import DefaultSavePlanner
from torch.distributed.checkpoint.staging import DefaultStager, StagingOptions
from torch.distributed.checkpoint.state_dict_loader import load
from torch.distributed.checkpoint.state_dict_saver import AsyncCheckpointerType, async_save, save

from ..states import State
from ..training import Training
from ._contender import ALL, Loading, Saving


class _Sync:
    def __init__(self) -> None:
        self._root = Path()

    def begin(self, root: Path) -> None:
        self._root = root

    def save(self, state: State, name: str) -> None:
        save(state, checkpoint_id=self._root / name, no_dist=True)

    def finish(self) -> None: ...

    def close(self) -> None: ...


class _Async:
    """`keep`: the stager and its buffers are kept, which is fast, and overwrites what is still being written
    if a save is not waited for; so the save before is waited for here. `cache`: the plan is kept, too."""

    def __init__(self, how: AsyncCheckpointerType, *, keep: bool, cache: bool = False) -> None:
        self._how, self._cache = how, cache
        if how is AsyncCheckpointerType.PROCESS and not dist.is_initialized():
            # Its process joins a group of its own, and wants to be told of ours.
            meeting = Path(tempfile.mkdtemp()) / "meeting"
            dist.init_process_group("gloo", init_method=f"file://{meeting}", rank=0, world_size=1)
        self._stager = DefaultStager(StagingOptions(False, False, False, False)) if keep else None
        self._under_way: Future[Any] | None = None
        self._root = Path()

    def begin(self, root: Path) -> None:
        self._root = root

    def save(self, state: State, name: str) -> None:
        self.finish()
        started = async_save(
            state,
            checkpoint_id=self._root / name,
            async_checkpointer_type=self._how,
            async_stager=self._stager,
            planner=DefaultSavePlanner(enable_plan_caching=True) if self._cache else None,
            no_dist=self._how is AsyncCheckpointerType.THREAD,
        )
        assert isinstance(started, Future)
        self._under_way = started

    def finish(self) -> None:
        under_way, self._under_way = self._under_way, None
        if under_way is not None:
            under_way.result()

    def close(self) -> None:
        self.finish()
        if self._stager is not None:
            self._stager.close()


def _into(root: Path, name: str, live: State) -> None:
    load(live, checkpoint_id=root / name, no_dist=True)


def _training(root: Path, name: str, training: Training) -> None:
    live = training.state_dicts()
    _into(root, name, live)
    training.load_state_dicts(live)


_THREAD, _PROCESS = AsyncCheckpointerType.THREAD, AsyncCheckpointerType.PROCESS
_WHERE = frozenset({"S1", "S5"})
_MANY = frozenset({"S6", "S7"})
# All sync their files, but not the directory. S2 would take DCP five seconds a save.
SAVINGS = (
    Saving("DCP", _Sync, durable=True, scenarios=ALL - {"S2", "S4", "S7", "S8"}),
    Saving(
        "DCP async (thread)", lambda: _Async(_THREAD, keep=False), durable=True, scenarios=_WHERE | {"S6"}
    ),
    Saving("DCP async (process)", lambda: _Async(_PROCESS, keep=False), durable=True, scenarios=_WHERE),
    Saving(
        "DCP async (kept stager)",
        lambda: _Async(_THREAD, keep=True),
        durable=True,
        scenarios=_WHERE | _MANY,
    ),
    Saving(
        "DCP async (kept stager and plan)",
        lambda: _Async(_THREAD, keep=True, cache=True),
        durable=True,
        scenarios=_MANY,
    ),
)
LOADINGS = (Loading("DCP", "DCP", into=_into, training=_training),)
