"""What is damaged in a bundle that a save is about to replace."""

from __future__ import annotations

import errno

from ..errors import (
    CheckpointNotFoundError,
    CheckpointReplacedError,
    CheckpointUnreadableError,
    DamagedError,
)
from ..records import CheckpointRecord
from ..storage import Storage
from ._read import Bundle
from ._rot import distrusted_since


def is_any_damaged(disk: Storage, place: str, record: CheckpointRecord, *, is_known: bool) -> bool:
    """Whether a file of the bundle is missing, has the wrong size, or holds other bytes than were saved, or none can be read.

    `is_known`: this process wrote or verified the bundle. Then it is not read again: only rot that this process has
    found since counts.

    Raises:
        CheckpointUnreadableError: the system refuses to read it, for another reason than that the medium fails.
    """
    if is_known:
        packs = {pack.name for pack in record.packs}
        if any(pack in packs for pack, _ in distrusted_since(0)):
            return True
    try:
        with Bundle(disk, place, expected_id=record.id) as opened:
            if (
                is_known
                and record.parts
                and any(pack in opened.file_names for pack, _ in distrusted_since(0))
            ):
                return True
            return not is_known and any(True for _ in opened.problems())
    except (CheckpointNotFoundError, CheckpointReplacedError):
        return False  # deleted or replaced meanwhile; the save looks again
    except DamagedError:
        return True
    except CheckpointUnreadableError as err:
        if isinstance(err.__cause__, OSError) and err.__cause__.errno == errno.EIO:
            return True  # as good as damaged to who is about to replace it: kept, and not in the way
        raise
