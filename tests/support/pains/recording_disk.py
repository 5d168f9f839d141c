"""`RecordingDisk`: the local disk, which also keeps a log of what is done in which order."""

from __future__ import annotations

import os
import re

from holdfast.storage import LocalDisk


class RecordingDisk:
    """The local disk; `log` gets what is done with the files of checkpoints, ids replaced by letters."""

    def __init__(self) -> None:
        self._disk, self.log, self._ids = LocalDisk(), [], {}

    def note(self, what: str) -> None:
        letters = lambda id: self._ids.setdefault(id[0], "ABCDEFGH"[len(self._ids)])  # noqa: E731
        self.log.append(re.sub("[0-9a-f]{32}", letters, what))

    def rename(self, old: str, new: str) -> None:
        self._disk.rename(old, new)
        self.note(f"rename {os.path.basename(old)} to {os.path.basename(new)}")

    def open_directory(self, path: str) -> RecordingDirectory:
        return RecordingDirectory(self, self._disk.open_directory(path), os.path.basename(path))

    def __getattr__(self, name: str):
        return getattr(self._disk, name)


class RecordingDirectory:
    def __init__(self, disk: RecordingDisk, inside, name: str) -> None:
        self._disk, self._inside, self._name = disk, inside, name

    def create(self, name: str, **options) -> RecordingFile:
        return RecordingFile(self._disk, self._inside.create(name, **options), name)

    def rename(self, old: str, new: str) -> None:
        self._inside.rename(old, new)
        self._disk.note(f"rename {old} to {new}")

    def unlink(self, name: str) -> None:
        self._inside.unlink(name)
        self._disk.note(f"unlink {name}")

    def sync(self) -> None:
        self._inside.sync()
        self._disk.note(f"sync {self._name}")

    def __enter__(self) -> RecordingDirectory:
        return self

    def __exit__(self, *details: object) -> None:
        self._inside.close()

    def __getattr__(self, name: str):
        return getattr(self._inside, name)


class RecordingFile:
    def __init__(self, disk: RecordingDisk, file, name: str) -> None:
        self._disk, self._file, self._name = disk, file, name

    def write(self, *data) -> None:
        self._file.write(*data)
        self._disk.note(f"write {self._name}")

    def sync(self) -> None:
        self._file.sync()
        self._disk.note(f"sync {self._name}")

    def __getattr__(self, name: str):
        return getattr(self._file, name)


def in_order(log: list[str]) -> list[str]:
    """Without repetitions in a row, and without the directories above."""
    mine = [each for each in log if not each.startswith("sync test_")]
    return [each for n, each in enumerate(mine) if n == 0 or mine[n - 1] != each]
