"""The one seam through which Holdfast writes: a disk that is real, in memory, or made to fail."""

from .._shown import shown_in as _shown_in
from ._local import LocalDisk
from ._memory import MemoryDisk
from ._new_files import NewFiles
from ._paths import absolute, is_below, local_path, real_path, refuse_url
from ._protocol import Buffer, Directory, Held, ReadFile, Status, Storage, WriteFile

__all__ = [
    "Buffer",
    "Directory",
    "Held",
    "LocalDisk",
    "MemoryDisk",
    "NewFiles",
    "ReadFile",
    "Status",
    "Storage",
    "WriteFile",
    "absolute",
    "is_below",
    "local_path",
    "real_path",
    "refuse_url",
]

_shown_in(__name__, *map(globals().__getitem__, __all__))
