"""The talk of one save: which rank says what under which key, and what has failed."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeAlias, TypeVar

from ...crew import Crew
from ...errors import CrewError, HoldfastError, SaveError
from ...records import CheckpointRecord
from ...storage import Storage
from .._finite import Watched, watch_none
from .._format.boxes import Region
from .._format.names import bundle_path
from .messages import Begun, Done, End, decode, encode
from .write import RankWriter

Kind = TypeVar("Kind", Begun, Done)
Share: TypeAlias = Mapping[str, Sequence[Region]]
Finish: TypeAlias = Callable[[CheckpointRecord], CheckpointRecord]

SHARED: Final = (
    "All ranks must save into one directory of a file system that they share, not each on a disk of its own."
)


def same(record: CheckpointRecord) -> CheckpointRecord:
    return record


@dataclass(slots=True)
class Talk:
    """One save, as this rank sees it. Made in the same order by all."""

    crew: Crew
    disk: Storage
    directory: str
    draft: CheckpointRecord
    is_watched: Watched = watch_none
    overwrite: bool = False
    finish: Finish = same
    key: str = field(init=False)
    cause: Exception | None = field(init=False, default=None)  # of this rank's own failure

    def __post_init__(self) -> None:
        self.key = self.crew.talk()

    @property
    def place(self) -> str:
        return bundle_path(self.directory, self.draft.name)

    def failed(self, why: str) -> SaveError:
        return SaveError(self.place, why)

    def begin(self, begun: Begun) -> None:
        self.crew.tell(f"{self.key}/begin/{self.crew.rank}", encode(begun))

    def refuse(self, why: str) -> None:
        """Tell all that this rank cannot save."""
        with contextlib.suppress(CrewError):
            self.begin(Begun(failed=why))
        if self.crew.rank == 0:
            self.end(End.failed(self.failed(why)))

    def end(self, end: End) -> None:
        """Tell all how it has ended; whoever does not hear of it looks at the disk."""
        with contextlib.suppress(CrewError):
            self.crew.tell(f"{self.key}/end", encode(end))

    def gathered(self, what: str, kind: type[Kind]) -> list[Kind]:
        """What every rank tells.

        Raises:
            SaveError: one says that it has failed; or some say nothing in time.
        """
        keys = [f"{self.key}/{what}/{rank}" for rank in range(self.crew.size)]
        told: dict[str, Kind] = {}

        def take(found: Mapping[str, bytes]) -> bool:
            for key in found.keys() - told.keys():
                told[key] = decode(found[key], kind)
                if why := told[key].failed:
                    raise self.failed(why) from self.cause
            return False

        try:
            take(self.crew.wait(keys, self.crew.timeout_s, take))
        except CrewError as err:
            raise self.failed(f"rank 0: {err}") from err
        missing = [rank for rank, key in enumerate(keys) if key not in told]
        if missing:
            raise self.failed(str(CrewError.silent(missing, self.crew.timeout_s)))
        return [told[key] for key in keys]

    def written(self, write: Callable[[], RankWriter], arrays: list[str], share: Share) -> Done:
        """This rank's part, written; or why there is none."""
        rank = self.crew.rank
        try:
            return Done(write().part(rank, arrays, share))
        except Exception as err:  # whatever it is, the others must not wait for this rank
            self.cause = err
            return Done(failed=f"rank {rank}: {_said(err)}")


def _said(err: Exception) -> str:
    if isinstance(err, SaveError):
        return err.why
    if isinstance(err, HoldfastError):
        return str(err)
    if isinstance(err, OSError):
        return f"{err.strerror or err} [{errno.errorcode.get(err.errno or 0, 'errno ?')}]"
    return f"{type(err).__name__}: {err}"
