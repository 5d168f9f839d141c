"""The one seam through which Holdfast writes: a disk that is real, in memory, or made to fail."""

from ._local import LocalDisk as LocalDisk
from ._memory import MemoryDisk as MemoryDisk
from ._new_files import NewFiles as NewFiles
from ._paths import is_below as is_below
from ._protocol import Directory as Directory
from ._protocol import Held as Held
from ._protocol import ReadFile as ReadFile
from ._protocol import Status as Status
from ._protocol import Storage as Storage
from ._protocol import WriteFile as WriteFile

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
