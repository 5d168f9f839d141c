"""Real checkpoints on a real disk, and the real command run on them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from holdfast import bundle, state
from holdfast.cli import app
from holdfast.records import CheckpointRecord, FileEntry, Moment
from holdfast.storage import LocalDisk

FROZEN = np.arange(60_000, dtype=np.float32)
"""Large enough (240 kB) to be shared by checkpoints."""


class Experiment:
    """Saves checkpoints below `directory`, one after another, sharing what stays the same."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._sharing = bundle.Sharing()
        self._seq = 0

    def save(self, name: str, value: Mapping[Any, Any] | None = None, **facts: Any) -> Path:
        """Commit `value` as `name`, which may begin with folders; returns the bundle's path."""
        self._seq += 1
        folder, _, own = name.rpartition("/")
        default = Moment(
            run="a" * 32, hook="epoch_end", phase="pretrain", epoch=self._seq, step=self._seq * 10
        )
        draft = CheckpointRecord(
            **{
                "id": "0" * 32,
                "name": own,
                "kind": "train",
                "moment": default,
                "seq": self._seq,
                "created": datetime.now(UTC).isoformat(timespec="microseconds"),
                "tree": FileEntry("", 0, ""),
                "packs": (),
                **facts,
            }
        )
        if value is None:
            value = {"frozen": FROZEN, "weight": np.full(10, self._seq, np.float32)}
        place = str(self.directory / folder) if folder else str(self.directory)
        bundle.save(LocalDisk(), place, draft, state.capture(value), self._sharing)
        return Path(bundle.bundle_path(place, own))

    @staticmethod
    def rot(place: Path, leaf: str) -> None:
        """Flip one bit of that leaf's data on the disk."""
        with bundle.Bundle(LocalDisk(), str(place)) as opened:
            piece = opened.stored.pieces[leaf][0]
            start, _ = opened._packs.spans(piece.file)[piece.key]
        with (place / piece.file).open("r+b") as data:
            data.seek(start)
            [byte] = data.read(1)
            data.seek(start)
            data.write(bytes([byte ^ 1]))


@pytest.fixture
def experiment(tmp_path: Path) -> Experiment:
    return Experiment(tmp_path / "runs")


@pytest.fixture
def holdfast() -> Callable[..., Any]:
    """The command, run in this process: `holdfast("ls", path)`."""

    def run(*arguments: object, **options: Any) -> Any:
        return CliRunner().invoke(app, [str(argument) for argument in arguments], **options)

    return run
