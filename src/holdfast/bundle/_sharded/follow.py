"""The other ranks of a save: they write their parts, and wait to hear from rank 0; if they do not, they look at the disk."""

from __future__ import annotations

import contextlib

from ...errors import CrewError
from ...records import CheckpointRecord, Snapshot
from ...storage import Directory
from .._format.names import OWNER, new_id, part_path, trash_path
from .._format.record import decode_record
from .._leftovers import empty_trash
from .._scan import look
from .messages import Begun, End, Go, decode, encode
from .split import Split
from .talk import SHARED, Talk
from .write import RankWriter

_LOOK_S = 0.2  # between two looks at the disk
_VISIBLE_S = 60.0  # so long may a network file system remember what a directory held


def follow(talk: Talk, snapshot: Snapshot, found: Split) -> CheckpointRecord:
    """Write what rank 0 wants of this rank, until it says how the save has ended.

    Raises: as `save`.
    """
    return _Follower(talk, snapshot, found).followed()


class _Follower:
    def __init__(self, talk: Talk, snapshot: Snapshot, found: Split) -> None:
        self._talk, self._snapshot, self._found = talk, snapshot, found
        self._id: str | None = None  # of the attempt under way

    def followed(self) -> CheckpointRecord:
        talk, turn = self._talk, 0
        try:
            talk.begin(Begun.of(talk.draft.name, self._found))
            while (go := self._next(turn)) is not None:
                self._id = go.id
                done = talk.written(lambda id=go.id: self._writer(id), go.arrays, go.regions())
                talk.crew.tell(f"{talk.key}/done/{turn}/{talk.crew.rank}", encode(done))
                turn += 1
            return self._end
        except CrewError as err:
            return self._settled(err)

    def _next(self, turn: int) -> Go | None:
        """The next attempt; None once it has ended well.

        Raises: what rank 0 says; CrewError if it says nothing in time.
        """
        talk = self._talk
        go, end = f"{talk.key}/go/{turn}/{talk.crew.rank}", f"{talk.key}/end"
        found = talk.crew.wait([go, end], talk.crew.patience_s, lambda found: bool(found))
        if end in found:
            ended = decode(found[end], End)
            if ended.error:
                raise ended.exception(talk.place) from talk.cause
            self._end = decode_record(ended.record.encode(), talk.place)
            return None
        if go not in found:
            raise CrewError.silent([0], talk.crew.patience_s)
        talk.crew.forget_earlier()
        return decode(found[go], Go)

    def _writer(self, id: str) -> RankWriter:
        talk = self._talk
        return RankWriter(
            *(talk.disk, self._open(id), id, talk.draft, self._snapshot, self._found),
            is_watched=talk.is_watched,
        )

    def _open(self, id: str) -> Directory:
        """The directory that rank 0 has made.

        Raises:
            SaveError: it is not to be seen from here.
        """
        talk = self._talk
        part = part_path(talk.directory, talk.draft.name, id)
        begun = talk.crew.now_s()
        while True:
            with contextlib.suppress(FileNotFoundError):
                return talk.disk.open_directory(part)
            if talk.crew.now_s() - begun >= min(_VISIBLE_S, talk.crew.timeout_s / 2):
                raise talk.failed(f"it does not see the directory {part} that rank 0 has made. {SHARED}")
            talk.crew.pause(_LOOK_S)

    def _settled(self, err: CrewError) -> CheckpointRecord:
        """What the disk says when rank 0 is not heard of any more.

        Raises:
            SaveError: it is not saved, and will not be.
        """
        talk, id, disk = self._talk, self._id, self._talk.disk
        what = str(err) if err.missing else "rank 0 cannot be reached any more"
        if id is None:  # rank 0 cannot commit without this rank's part
            raise talk.failed(what) from err
        part = part_path(talk.directory, talk.draft.name, id)
        begun = talk.crew.now_s()
        is_over = bool(err.missing)  # it has been waited for
        while not is_over:
            if (record := self._record(id)) is not None:
                return record
            is_over = self._is_abandoned(part) or talk.crew.now_s() - begun >= talk.crew.patience_s
            if not is_over:
                talk.crew.pause(_LOOK_S)
        trash = trash_path(talk.directory, talk.draft.name, new_id())
        try:
            disk.rename(part, trash)
        except OSError:  # rank 0 has committed it, or given it up; or another rank was quicker
            if (record := self._record(id)) is not None:
                return record
            raise talk.failed(what) from err
        with contextlib.suppress(OSError):
            empty_trash(disk, trash)
        raise talk.failed(what) from err

    def _record(self, id: str) -> CheckpointRecord | None:
        """The record of this save, if it is in place."""
        listed = look(self._talk.disk, self._talk.place)
        return listed.record if listed and listed.record and listed.record.id == id else None

    def _is_abandoned(self, part: str) -> bool:
        """Whether rank 0 has ended, or given the directory up; or it is a checkpoint by now."""
        try:
            with self._talk.disk.open_directory(part) as inside:
                with contextlib.suppress(OSError):
                    return inside.is_held(OWNER) is False
                return False  # without an owner: it is about to be renamed
        except OSError:
            return True
