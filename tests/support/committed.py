"""Real checkpoints on a real disk, for the tests of what reads them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from holdfast import bundle, state
from holdfast.records import CheckpointRecord, FileEntry, Moment
from holdfast.storage import LocalDisk


@pytest.fixture
def save(tmp_path: Path) -> Callable[..., str]:
    """Commits a state under a name, the next of its run; returns the bundle's path."""
    sharing, seq = bundle.Sharing(), 0

    def save(name: str, value: Any, *, run: str = "a" * 32, **facts: Any) -> str:
        nonlocal seq
        seq += 1
        draft = CheckpointRecord(
            id="0" * 32,
            name=name,
            seq=seq,
            created=datetime.now(UTC).isoformat(timespec="microseconds"),
            tree=FileEntry("", 0, ""),
            packs=(),
            durability="process",
            **{
                "kind": "train",
                "moment": Moment(run=run, hook="epoch_end", epoch=seq, step=10 * seq),
                **facts,
            },
        )
        bundle.save(LocalDisk(), str(tmp_path / "runs"), draft, state.capture(value), sharing)
        return bundle.bundle_path(str(tmp_path / "runs"), name)

    return save
