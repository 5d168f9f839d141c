"""Where the processes of a crew leave messages for each other: a key-value store, or a folder that all of them see."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Sequence
from contextlib import closing, suppress
from typing import Any, Protocol

from ..errors import CrewError
from ..storage import Storage

_TIMEOUT_HINT = "the store that the processes share cannot be reached"


class Board(Protocol):
    """Messages by key. Each key is told once; a process asks for those that are there by now, and never waits.

    All raise `CrewError` if the board cannot be reached any more.
    """

    def tell(self, key: str, data: bytes) -> None:
        """Leave a message for all; `data` has at least a byte."""
        ...

    def look(self, keys: Sequence[str]) -> dict[str, bytes]:
        """The messages of these keys that have been told by now."""
        ...

    def forget(self, keys: Sequence[str]) -> None:
        """Remove messages; of those that are not there nothing happens."""
        ...


class StoreBoard:
    """A `torch.distributed.Store`.

    `store`: a client of its own (`Store.clone()`): a `wait` in one thread blocks every other call of the same client.
    """

    def __init__(self, store: Any) -> None:
        self._store = store

    def tell(self, key: str, data: bytes) -> None:
        try:
            self._store.set(key, data)
        except RuntimeError as err:
            raise CrewError(_TIMEOUT_HINT, str(err)) from err

    def look(self, keys: Sequence[str]) -> dict[str, bytes]:
        try:
            return {key: bytes(self._store.get(key)) for key in self._present(keys)}
        except RuntimeError as err:
            raise CrewError(_TIMEOUT_HINT, str(err)) from err

    def forget(self, keys: Sequence[str]) -> None:
        with suppress(RuntimeError):  # some stores cannot delete; the messages are small
            for key in keys:
                self._store.delete_key(key)

    def _present(self, keys: Sequence[str]) -> Iterator[str]:
        """One question finds that all are there; halves find the few that are not."""
        if not keys:
            return
        if self._store.check(list(keys)):
            yield from keys
        elif len(keys) > 1:
            middle = len(keys) // 2
            yield from self._present(keys[:middle])
            yield from self._present(keys[middle:])


class FolderBoard:
    """A folder on a file system that all processes see: a file for each message.

    Whether one is there is told by listing the folder: a network file system remembers for half a minute that a file was not there.

    Args:
        disk: where it is.
        folder: it must be new for each run and each restart (of SLURM: its name has `SLURM_JOB_ID` and `SLURM_RESTART_COUNT`).
    """

    def __init__(self, disk: Storage, folder: str) -> None:
        self._disk, self._folder = disk, folder
        with suppress(FileExistsError):
            disk.mkdir(folder)

    def tell(self, key: str, data: bytes) -> None:
        name = _file_name(key)
        unfinished = f".{name}.{secrets.token_hex(4)}"
        try:
            with self._disk.open_directory(self._folder) as inside:
                with closing(inside.create(unfinished)) as file:
                    file.write(data)
                inside.rename(unfinished, name)
        except OSError as err:
            raise CrewError(f"nothing can be written into {self._folder}", str(err)) from err

    def look(self, keys: Sequence[str]) -> dict[str, bytes]:
        wanted = {_file_name(key): key for key in keys}
        found: dict[str, bytes] = {}
        try:
            with self._disk.open_directory(self._folder) as inside:
                for name in wanted.keys() & set(inside.names()):
                    with suppress(FileNotFoundError), closing(inside.open(name)) as file:
                        data = bytearray(file.size)
                        file.read_into(0, memoryview(data))
                        found[wanted[name]] = bytes(data)
        except OSError as err:
            raise CrewError(f"{self._folder} cannot be read", str(err)) from err
        return found

    def forget(self, keys: Sequence[str]) -> None:
        with suppress(OSError), self._disk.open_directory(self._folder) as inside:
            for key in keys:
                with suppress(FileNotFoundError):
                    inside.unlink(_file_name(key))


def _file_name(key: str) -> str:
    return key.replace("/", "+")
