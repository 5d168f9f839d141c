"""Bundles: checkpoints on disk, each a plain directory that is self-contained."""

from ._archive import archive as archive
from ._commit import commit as commit
from ._commit import make_directories as make_directories
from ._delete import delete as delete
from ._format.names import PINNED as PINNED
from ._format.names import RECORD as RECORD
from ._format.names import SUFFIX as SUFFIX
from ._format.names import bundle_path as bundle_path
from ._format.names import new_id as new_id
from ._format.names import part_path as part_path
from ._format.strict_json import decode as decode_json
from ._leftovers import sweep as sweep
from ._pin import file_sizes as file_sizes
from ._pin import is_pinned as is_pinned
from ._pin import pin as pin
from ._pin import unpin as unpin
from ._read import Bundle as Bundle
from ._read import StoredPiece as StoredPiece
from ._read import read_record as read_record
from ._save import save as save
from ._scan import Listed as Listed
from ._scan import by_age as by_age
from ._scan import look as look
from ._scan import scan as scan
from ._sharing import Sharing as Sharing

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
    "read_record",
    "save",
    "scan",
    "sweep",
    "unpin",
]
