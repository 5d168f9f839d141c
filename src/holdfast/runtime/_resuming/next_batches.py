"""Which batch came first after each save, by digest: what a loader is measured by whose state is of somebody else's making.

When a run saves, that batch is not drawn yet, and drawing it would move the loader. So it is noted beside
the checkpoints as soon as the run draws it, before it is handed out: a run that is killed later finds it at its resume.
"""

from __future__ import annotations

import contextlib
import json
import logging
from collections import deque
from collections.abc import Mapping
from dataclasses import asdict
from typing import Final, final

from blake3 import blake3

from ... import bundle
from ...records import CheckpointRecord
from ...storage import Storage
from .._claim import file_of

logger = logging.getLogger("holdfast")

_FOLDER: Final = ".next_batches"  # in an experiment's directory, with a file for each run
_MOST: Final = 512  # saves that are noted, the newest
_MOST_BYTES: Final = 1 << 20  # of such a file


@final
class NextBatches:
    """Of the runs that save in one directory. What cannot be read or written is not known, and no error.

    Args:
        rank: of several processes that have a run together, each of which reads data of its own.

    Attributes:
        awaited: what was saved since the last batch came.
    """

    def __init__(self, disk: Storage, path: str, rank: int = 0) -> None:
        self._disk, self._path, self._rank = disk, f"{path}/{_FOLDER}", rank
        self.awaited = deque[CheckpointRecord](maxlen=16)
        self._known: tuple[str, dict[str, str]] | None = None  # of the run that notes

    def saved(self, draft: CheckpointRecord) -> None:
        """This is being saved; the next batch is the one that follows it."""
        self.awaited.append(draft)

    def came(self, digest: str | None) -> None:
        """A batch came with this digest; None: it cannot tell batches apart, so nothing is noted."""
        awaited = [*self.awaited]
        self.awaited.clear()
        if not awaited or digest is None:
            return
        run = awaited[-1].moment.run
        if self._known is None or self._known[0] != run:
            self._known = run, self._read(run)
        _, known = self._known
        for each in awaited:
            known.pop(_key(each), None)  # the newest are last
            known[_key(each)] = digest
        for old in [*known][:-_MOST]:
            del known[old]
        self._write(run, known)

    def after(self, record: CheckpointRecord) -> str | None:
        """The digest of the batch that came first after this checkpoint was saved; None if that is not known."""
        return self._read(record.moment.run).get(_key(record))

    def _file_of(self, run: str) -> str:
        return f"{file_of(run)}.{self._rank}" if self._rank else file_of(run)

    def _read(self, run: str) -> dict[str, str]:
        try:
            with (
                self._disk.open_directory(self._path) as here,
                contextlib.closing(here.open(self._file_of(run))) as file,
            ):
                if file.size > _MOST_BYTES:
                    return {}
                content = bytearray(file.size)
                file.read_into(0, memoryview(content))
            known = json.loads(content)
        except (OSError, EOFError, ValueError, RecursionError):
            return {}
        if not isinstance(known, Mapping):
            return {}
        return {key: each for key, each in known.items() if isinstance(each, str)}

    def _write(self, run: str, known: Mapping[str, str]) -> None:
        """Atomically, and not durably: a machine that fails leaves what is not known."""
        name = self._file_of(run)
        new = f"{name}.new"
        try:
            bundle.make_directories(self._disk, self._path)
            with self._disk.open_directory(self._path) as here:
                with contextlib.suppress(FileNotFoundError):
                    here.unlink(new)
                with contextlib.closing(here.create(new)) as file:
                    file.write(json.dumps(known).encode())
                here.rename(new, name)
        except OSError as err:
            logger.debug("the next batch could not be noted in %s: %s", self._path, err)


def _key(record: CheckpointRecord) -> str:
    """That of a save: its run, its place, and what was to come, so that a run that is rolled back has another one there."""
    facts = [record.name, asdict(record.moment), record.details.get("next")]
    return blake3(json.dumps(facts, sort_keys=True, default=dict).encode()).hexdigest(16)
