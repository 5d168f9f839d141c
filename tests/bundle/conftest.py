"""Every promise about bundles is held on a real disk and on the one in memory."""

from __future__ import annotations

from pathlib import Path

import pytest

from holdfast.storage import LocalDisk, MemoryDisk, Storage


@pytest.fixture(params=["local", "memory"])
def disk(request: pytest.FixtureRequest) -> Storage:
    return LocalDisk() if request.param == "local" else MemoryDisk()


@pytest.fixture
def runs(disk: Storage, tmp_path: Path) -> str:
    """A directory for bundles; the first save makes it."""
    return str(tmp_path / "runs") if isinstance(disk, LocalDisk) else "runs"
