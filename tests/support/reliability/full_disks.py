"""A disk that is really full: filled up but for so much, saved to, freed, and saved to again."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from typing import Literal

from holdfast.errors import CommitUncertainError, SaveError
from holdfast.records import CheckpointRecord
from tests.support.reliability.numbered import Saver, held
from tests.support.reliability.volumes import Volume

Save = Literal["a new name", "an overwrite", "one that links"]
SAVES: tuple[Save, ...] = ("a new name", "an overwrite", "one that links")
_BLOCK = 4096
_SLACK_BYTES = 16 * _BLOCK  # a directory that has grown does not shrink again


@dataclass
class Figures:
    cases: int = 0
    refused: int = 0


class FullDisk:
    """A volume with two checkpoints on it, `old` and `rolling`, and a ballast that fills it up."""

    def __init__(self, volume: Volume, size_bytes: int = 1 << 20) -> None:
        self.volume, self.size_bytes = volume, size_bytes
        self.directory = volume.path / "runs"
        self._ballast = volume.path / "ballast"
        self._ballast.mkdir()
        self._numbers = count(1)
        for name in ("old", "rolling"):
            Saver(self.directory).save(next(self._numbers), name, 128 << 10)

    def need(self, save: Save) -> tuple[int, int]:
        """Bytes and inodes that such a save takes."""
        before = self.volume.free_bytes, self.volume.free_inodes
        self._save("a new name" if save == "an overwrite" else save)
        _sync(self.volume)
        after = self.volume.free_bytes, self.volume.free_inodes
        Saver(self.directory).delete("new")
        return before[0] - after[0], before[1] - after[1]

    def try_with(
        self, save: Save, figures: Figures, *, free_bytes: int | None = None, free_inodes: int | None = None
    ) -> bool:
        """Save with only so much room left; whether it worked. Then free the room, and save again.

        Raises AssertionError if that fails otherwise than as a full disk, harms what was there, keeps room
        that it has not used, or if the next save does not work.
        """
        before = held(self.directory)
        name = "rolling" if save == "an overwrite" else "new"
        with self._filled(free_bytes, free_inodes):
            room = self.volume.free_bytes
            number, worked, uncertain = self._save(save)
            found = held(self.directory)
            assert found == before | ({name: number} if worked else {}) or uncertain, (before, found)
            if not worked:
                hidden = [entry for entry in os.listdir(self.directory) if entry.startswith(".")]
                assert not hidden, f"a failed save left {hidden}"
                _sync(self.volume)
                assert self.volume.free_bytes >= room - _SLACK_BYTES, "a failed save kept room"
        if worked and name == "new":
            Saver(self.directory).delete("new")
        number, worked_again, _ = self._save(save)
        assert worked_again, "with room again, the next save failed"
        assert held(self.directory) == before | {name: number}
        if name == "new":
            Saver(self.directory).delete("new")
        figures.cases += 1
        figures.refused += not worked
        return worked

    def _save(self, save: Save) -> tuple[int, bool, bool]:
        """Its number, whether it worked, and whether it says that it does not know."""
        number = next(self._numbers)
        saver = Saver(self.directory)
        if save == "one that links":
            saver.learn(
                "old"
            )  # not "rolling", whose pack may by now be mostly of what changes, and not worth a link
        try:
            record = saver.save(number, "rolling" if save == "an overwrite" else "new", self.size_bytes)
        except SaveError as err:
            if not isinstance(err.__cause__, OSError) or err.__cause__.errno != errno.ENOSPC:
                raise
            return number, False, isinstance(err, CommitUncertainError)
        _check_links(save, record)
        return number, True, False

    @contextlib.contextmanager
    def _filled(self, free_bytes: int | None, free_inodes: int | None) -> Iterator[None]:
        made = []
        try:
            if free_bytes is not None:
                made.append(self._ballast / "bytes")
                self._fill_bytes(made[-1], free_bytes)
            for number in range(self.volume.free_inodes - free_inodes if free_inodes is not None else 0):
                made.append(self._ballast / str(number))
                made[-1].touch()
            yield
        finally:
            for file in made:
                file.unlink()
            _sync(self.volume)

    def _fill_bytes(self, file: os.PathLike[str], free_bytes: int) -> None:
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT)
        try:
            size = 0
            while (excess := (self.volume.free_bytes - free_bytes) // _BLOCK * _BLOCK) > 0:
                os.posix_fallocate(descriptor, size, excess)
                size += excess
                _sync(self.volume)
        finally:
            os.close(descriptor)


def _check_links(save: Save, record: CheckpointRecord) -> None:
    assert (record.bytes_shared > 0) == (save == "one that links"), record.bytes_shared


def _sync(volume: Volume) -> None:
    """What was deleted is counted as free only once the journal says so."""
    descriptor = os.open(volume.path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
