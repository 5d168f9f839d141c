"""Rank 0 of a save: it plans, commits, and tells the others how it has ended."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from itertools import count

from ..._wording import ranks_in_words
from ...errors import CommitUncertainError, CrewError, HoldfastError, UsageError
from ...records import CheckpointRecord, Snapshot
from ...storage import Directory
from .._commit import commit
from .._format.record import encode_record
from .._scan import look
from .messages import Begun, Done, End, Go, encode
from .plan import Plan, plan
from .replacing import free_name
from .split import Split
from .talk import SHARED, Talk
from .write import RankWriter, Told

logger = logging.getLogger("holdfast")


def lead(talk: Talk, snapshot: Snapshot, found: Split) -> CheckpointRecord:
    """Commit what all ranks have captured.

    Raises: as `save`.
    """
    try:
        record = _Leader(talk, snapshot, found).committed()
    except CrewError as err:
        failed = talk.failed(f"rank 0: {err}")
        talk.end(End.failed(failed))
        raise failed from err
    except HoldfastError as err:
        talk.end(End.failed(err))
        raise
    except BaseException as err:
        talk.end(End.failed(talk.failed(f"rank 0: {type(err).__name__}: {err}")))
        raise
    talk.end(End(record=encode_record(record).decode()))
    return record


class _Leader:
    def __init__(self, talk: Talk, snapshot: Snapshot, found: Split) -> None:
        self._talk, self._snapshot, self._found = talk, snapshot, found
        self._paths = [*dict.fromkeys(box.path for box in found.boxes)]
        self._rounds = count()
        self._ids: list[str] = []

    def committed(self) -> CheckpointRecord:
        talk = self._talk
        planned = self._plan()

        def fill(directory: Directory, id: str, *, rename_links: bool) -> CheckpointRecord:
            self._ids.append(id)
            return self._fill(planned, directory, id)

        try:
            with free_name(talk.disk, talk.directory, talk.draft.name) if talk.overwrite else nullcontext():
                return commit(
                    *(talk.disk, talk.directory, talk.draft.name, fill),
                    overwrite=False,
                    durable=talk.draft.durability == "full",
                )
        except CommitUncertainError:
            listed = look(talk.disk, talk.place)
            if listed is None or (listed.record and listed.record.id not in self._ids):
                raise talk.failed(
                    "another rank had heard nothing of rank 0 for too long, and gave it up"
                ) from None
            raise

    def _plan(self) -> Plan:
        talk, name = self._talk, self._talk.draft.name
        talk.begin(Begun.of(name, self._found))
        begun = talk.gathered("begin", Begun)
        talk.crew.forget_earlier()
        for rank, each in enumerate(begun):
            if each.name != name:
                what = f"rank {rank} saves {each.name!r} and rank 0 {name!r}: all ranks must make the same calls."
                raise UsageError(what)
        try:
            planned = plan(self._paths, [each.decoded() for each in begun])
        except ValueError as err:
            raise UsageError(f"checkpoint {name!r} cannot be saved: {err}") from None
        if others := [rank for rank, each in enumerate(begun) if each.structure != begun[0].structure]:
            raise UsageError(
                f"checkpoint {name!r} cannot be saved: the state of {ranks_in_words(others)} has other names or arrays than that of "
                "rank 0, which would be lost. All ranks must have the same; what is each one's own goes into ByRank()."
            )
        return planned

    def _fill(self, planned: Plan, inside: Directory, id: str) -> CheckpointRecord:
        """One attempt: all write into the directory; the record of what is there then."""
        talk, turn = self._talk, next(self._rounds)
        for rank, share in enumerate(planned.shares):
            go = Go(id, self._paths, {path: [*those] for path, those in share.items()})
            talk.crew.tell(f"{talk.key}/go/{turn}/{rank}", encode(go))
        writer = RankWriter(
            *(talk.disk, inside, id, talk.draft, self._snapshot, self._found), is_watched=talk.is_watched
        )
        mine = talk.written(lambda: writer, self._paths, planned.shares[0])
        talk.crew.tell(f"{talk.key}/done/{turn}/0", encode(mine))
        parts = [each.part for each in talk.gathered(f"done/{turn}", Done) if each.part is not None]
        self._check_there(inside, parts)
        try:
            record = writer.head(planned, parts)
        except ValueError as err:
            raise UsageError(f"checkpoint {talk.draft.name!r} cannot be saved: {err}") from err
        details = {**record.details, "world": len(parts), **_differing(parts)}
        return talk.finish(replace(record, details=details))

    def _check_there(self, inside: Directory, parts: Sequence[Told]) -> None:
        """Rank 0 must see all files itself; by listing, as a network file system remembers what was not there."""
        names = set(inside.names())
        for rank, told in enumerate(parts):
            for name, size in told.files.items():
                if name not in names or inside.status(name).size != size:
                    raise self._talk.failed(
                        f"rank {rank}: rank 0 does not see the file {name} that it wrote. {SHARED}"
                    )


def _differing(parts: Sequence[Told]) -> dict[str, list[int]]:
    """A warning and a fact for the record if what all ranks should have alike differs; rank 0's is saved."""
    ranks = [rank for rank, told in enumerate(parts) if told.alike != parts[0].alike]
    if not ranks:
        return {}
    logger.warning(
        "%s: other values than on rank 0 where all should have the same; those of rank 0 are saved. What belongs to each "
        "process goes into ByRank().", ranks_in_words(ranks),
    )  # fmt: skip
    return {"differing_ranks": ranks[:1000]}
