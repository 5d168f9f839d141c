"""Bundles: checkpoints on disk, each a plain directory that is self-contained."""

from .._shown import shown_in as _shown_in
from ._archive import archive
from ._commit import commit
from ._delete import delete
from ._folders import make_directories
from ._format.names import PINNED, RECORD, SUFFIX, bundle_path, new_id, part_path
from ._format.strict_json import decode as decode_json
from ._leftovers import sweep
from ._open import unreadable
from ._pin import file_sizes, is_pinned, pin, unpin
from ._read import Bundle, StoredPiece
from ._save import save
from ._scan import Listed, by_age, by_run, look, refuse_unreadable, scan
from ._sharded.save import save_together
from ._sharing import Sharing

__all__ = [
    "PINNED",
    "RECORD",
    "SUFFIX",
    "Bundle",
    "Listed",
    "Sharing",
    "StoredPiece",
    "archive",
    "bundle_path",
    "by_age",
    "by_run",
    "commit",
    "decode_json",
    "delete",
    "file_sizes",
    "is_pinned",
    "look",
    "make_directories",
    "new_id",
    "part_path",
    "pin",
    "refuse_unreadable",
    "save",
    "save_together",
    "scan",
    "sweep",
    "unpin",
    "unreadable",
]

_shown_in(__name__, *map(globals().__getitem__, __all__))
