"""States that are told apart by a number, saved and found again: what the tests of this folder save.

One part is frozen and so shared by links, one changes with every number, and small ones are in the tree.
Nothing here imports a framework.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from holdfast import bundle, state
from holdfast.errors import SaveError
from holdfast.records import CheckpointRecord, FileEntry, Moment
from holdfast.storage import LocalDisk, Storage

_FROZEN_SEED, _FROZEN_BYTES = 1 << 40, 256 << 10
LARGE = 17 << 20  # bytes that change: enough to be written around the page cache


def numbered(number: int, size_bytes: int = 128 << 10) -> dict[str, Any]:
    """The state of this number, the same in every process; of `size_bytes` beside what is frozen."""
    return {
        "frozen": _noise(_FROZEN_SEED, _FROZEN_BYTES),
        "changing": _noise(number, size_bytes),
        "size": size_bytes,
        "number": number,
    }


@lru_cache(8)
def _noise(seed: int, size_bytes: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 1 << 62, size_bytes // 8, np.int64)


class Saver:
    """One process that saves numbered states to one directory, and knows what it can share."""

    def __init__(self, directory: Path, disk: Storage | None = None) -> None:
        self.directory, self.disk = str(directory), disk or LocalDisk()
        self._sharing = bundle.Sharing()

    def learn_all(self) -> None:
        """As after a resume that verified everything."""
        for listed in bundle.scan(self.disk, self.directory):
            self._learn(listed.path)

    def learn(self, name: str) -> None:
        """As if this one alone were trusted."""
        self._learn(bundle.bundle_path(self.directory, name))

    def _learn(self, path: str) -> None:
        with bundle.Bundle(self.disk, path) as opened:
            assert not list(opened.problems())
            self._sharing.learn(opened.path, opened.record, opened.stored)

    def save(
        self, number: int, name: str, size_bytes: int = 128 << 10, disk: Storage | None = None, **facts: Any
    ) -> CheckpointRecord:
        draft = CheckpointRecord(
            id="0" * 32,
            name=name,
            kind="train",
            moment=Moment(run="r" * 32, hook="epoch_end", step=number),
            seq=number,
            created="2026-01-02T03:04:05.000006+00:00",
            tree=FileEntry("", 0, ""),
            packs=(),
            **facts,
        )
        snapshot = state.capture(numbered(number, size_bytes))
        return bundle.save(disk or self.disk, self.directory, draft, snapshot, self._sharing)

    def delete(self, name: str) -> None:
        path = bundle.bundle_path(self.directory, name)
        found = bundle.look(self.disk, path)
        assert found is not None
        if "Input/output error" in str(found.problem):  # the power is off
            raise SaveError(path, str(found.problem))
        assert found.record is not None, found.problem
        bundle.delete(self.disk, path, expected_id=found.record.id)
        self._sharing.forget(path)

    @property
    def names(self) -> list[str]:
        return list(held(Path(self.directory), read=False))


def held(directory: Path, *, read: bool = True) -> dict[str, int]:
    """Name and number of every checkpoint that is there; every byte is compared with what was saved.

    Raises AssertionError if anything is listed that is no state whole: nothing may be half-visible.
    """
    found = {}
    for listed in bundle.scan(LocalDisk(), str(directory)):
        assert listed.record is not None, f"half-visible: {listed.problem}"
        number = listed.record.moment.step
        if read:
            assert number_in(listed.path) == number, f"{listed.path} does not hold what its record says"
        found[listed.record.name] = number
    return found


def number_in(path: str | Path) -> int:
    """Of the state that a bundle holds; every byte has been compared."""
    with bundle.Bundle(LocalDisk(), str(path)) as opened:
        assert not (problems := list(opened.problems(deep=True))), problems
        content = state.rebuild(opened)
    expected = numbered(content["number"], content["size"])
    for part, array in expected.items():
        assert np.array_equal(content[part], array), f"{path}: {part} is not what was saved"
    return content["number"]
