"""The one seam through which Holdfast writes: a disk that is real, in memory, or made to fail."""

from ._local import LocalDisk
from ._memory import MemoryDisk
from ._new_files import NewFiles
from ._paths import is_below
from ._protocol import Directory, Held, ReadFile, Status, Storage, WriteFile

__all__ = [
    "Directory",
    "Held",
    "LocalDisk",
    "MemoryDisk",
    "NewFiles",
    "ReadFile",
    "Status",
    "Storage",
    "WriteFile",
    "is_below",
]
