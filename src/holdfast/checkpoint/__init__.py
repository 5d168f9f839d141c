"""Checkpoints on a disk: open, read, map, archive, derive, fork and remove them. No run is needed."""

from .._shown import shown_in as _shown_in
from ._checkpoint import Checkpoint, archive, open, source_of, write_archive
from ._derived import Part, Pieces, StreamedSnapshot, draft, save_alone, save_together
from ._finite import describe_nonfinite, nonfinite_leaves, watched
from ._fork import FORKED_FROM, fork
from ._lineage import Kin, lineage
from ._lock import LOCK, has_been_held, run_at
from ._mapped import MappedArrays
from ._places import Opened, Place, find, locate, path_of, scan, scan_if_there
from ._remove import removable, remove

__all__ = [
    "FORKED_FROM",
    "LOCK",
    "Checkpoint",
    "Kin",
    "MappedArrays",
    "Opened",
    "Part",
    "Pieces",
    "Place",
    "StreamedSnapshot",
    "archive",
    "describe_nonfinite",
    "draft",
    "find",
    "fork",
    "has_been_held",
    "lineage",
    "locate",
    "nonfinite_leaves",
    "open",
    "path_of",
    "removable",
    "remove",
    "run_at",
    "save_alone",
    "save_together",
    "scan",
    "scan_if_there",
    "source_of",
    "watched",
    "write_archive",
]

_shown_in(__name__, *map(globals().__getitem__, __all__))
