"""A checkpoint that all ranks of a crew save together.

Rank 0 commits as it always does (`_commit`): a new directory, everything in it, one rename. While it fills the directory it
tells the others the id, all write their parts into it, and it waits for them. The disk decides, and what the ranks tell
each other is only a hint: a rank that hears nothing more of rank 0 looks whether the checkpoint is there, and if it is not,
renames the directory, so that rank 0, should it be only slow, can commit it no more.
"""

from __future__ import annotations

from collections.abc import Callable

from ...crew import Crew
from ...records import CheckpointRecord, Node, Snapshot
from ...storage import Storage
from .._finite import Watched, watch_none
from .follow import follow
from .lead import lead
from .split import split
from .talk import Finish, Talk, same


def save_together(
    crew: Crew,
    disk: Storage,
    directory: str,
    draft: CheckpointRecord,
    capture: Callable[[], Snapshot],
    *,
    watching: Callable[[Node], Watched] = lambda tree: watch_none,
    overwrite: bool = False,
    finish: Finish = same,
) -> CheckpointRecord:
    """Commit what the ranks capture as `directory/draft.name.ckpt.mml`; every rank of the crew calls it alike.

    `draft`: that of rank 0 counts, but all must give the same name. What `capture` raises is raised on that rank, and
    on all others a SaveError that says so. `watching`: which arrays of the tree should be finite. `overwrite`: what
    has the name is renamed, and deleted once the new one is there. `finish`: called on rank 0 with the record, for what else it
    is to say.

    Raises:
        CheckpointExistsError: the name is taken, and `overwrite` is False.
        SaveError: a rank failed or did not answer; the error names it, and is the same on all ranks. Nothing was saved.
        CommitUncertainError: it is in place but may not survive a power cut.
        UsageError: what the ranks want to save does not fit together.
    """
    talk = Talk(crew, disk, directory, draft, overwrite=overwrite, finish=finish)
    try:
        snapshot = capture()
        found = split(snapshot.tree)
        talk.is_watched = watching(snapshot.tree)
    except Exception as err:
        talk.refuse(f"rank {crew.rank}: {err}")
        raise
    return (lead if crew.rank == 0 else follow)(talk, snapshot, found)
