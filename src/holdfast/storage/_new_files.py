"""Plain files that appear complete or not at all: written beside their places, synced, and named when all are written."""

from __future__ import annotations

import contextlib
import errno
import secrets

from ._protocol import Storage, WriteFile

_NO_LINKS = {
    errno.EPERM,
    errno.ENOTSUP,
    errno.EOPNOTSUPP,
    errno.ENOSYS,
    errno.EMLINK,
    errno.EINVAL,
    errno.EXDEV,
}


class NewFiles:
    """New files in one folder. Use it as a context manager; at its end they get their names, in order.

    Each appears complete and durable or not at all. The last one is named last, so it should be the one by which
    readers find the others. After an error, or a crash, no name has changed; a crash leaves a hidden
    `.NAME.<random>.part` behind.

    Raises (at the end): FileExistsError: a name is taken, and `overwrite` is False. OSError: the disk refused.
    """

    def __init__(self, disk: Storage, folder: str, *, overwrite: bool = False) -> None:
        self._disk, self._folder, self._overwrite = disk, folder or ".", overwrite
        self._directory = disk.open_directory(self._folder)
        self._files: dict[str, tuple[str, WriteFile]] = {}

    def create(self, name: str) -> WriteFile:
        """Begin the file that will be `name`; it is synced and closed at the end."""
        temporary = f".{name[:200]}.{secrets.token_hex(8)}.part"
        file = self._directory.create(temporary)
        self._files[name] = temporary, file
        return file

    def __enter__(self) -> NewFiles:
        return self

    def __exit__(self, kind: object, *details: object) -> None:
        try:
            if kind is None:
                self._publish()
        finally:
            for temporary, file in self._files.values():
                with contextlib.suppress(OSError):
                    file.close()
                with contextlib.suppress(OSError):
                    self._directory.unlink(temporary)
            self._directory.close()

    def _publish(self) -> None:
        for _, file in self._files.values():
            file.sync()
            file.close()
        named: list[str] = []
        try:
            for name, (temporary, _) in self._files.items():
                if self._overwrite:
                    self._directory.rename(temporary, name)
                else:
                    self._name_new(temporary, name)
                    named.append(name)
        except BaseException:
            for name in named:  # just created by us: half a set of files is of no use
                with contextlib.suppress(OSError):
                    self._directory.unlink(name)
            raise
        self._directory.sync()

    def _name_new(self, temporary: str, name: str) -> None:
        try:
            # Unlike a rename, a link never replaces a file that another process has just created.
            self._directory.link(f"{self._folder}/{temporary}", name)
        except OSError as err:
            if err.errno not in _NO_LINKS:
                raise
            with contextlib.suppress(FileNotFoundError):
                self._directory.status(name)
                raise FileExistsError(errno.EEXIST, "file exists", name) from None
            self._directory.rename(temporary, name)
