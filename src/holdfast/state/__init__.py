"""Live objects to state trees and back: `capture`, `restore`, and functions that inspect a tree."""

from ._adapter import Adapter as Adapter
from ._adapter import register_adapter as register_adapter
from ._buffers import Buffers as Buffers
from ._digest import digest as digest
from ._exclude import all_left_out as all_left_out
from ._exclude import all_thinned as all_thinned
from ._exclude import without_optimizers as without_optimizers
from ._fit import Fit as Fit
from ._fit import Make as Make
from ._fit import unmakeable as unmakeable
from ._kinds import is_same_kind as is_same_kind
from ._lazy import LazySnapshot as LazySnapshot
from ._lazy import capture_lazily as capture_lazily
from ._live import Gate as Gate
from ._live import Live as Live
from ._named import named as named
from ._rebuild import rebuild as rebuild
from ._restore import Restored as Restored
from ._restore import restore as restore
from ._snapshot import LiveSnapshot as LiveSnapshot
from ._snapshot import MemorySnapshot as MemorySnapshot
from ._snapshot import capture as capture
from ._snapshot import look as look
from ._tree import entries as entries
from ._tree import find as find
from ._tree import in_optimizers as in_optimizers
from ._walk import Walk as Walk

__all__ = [
    "Adapter",
    "Buffers",
    "Fit",
    "Gate",
    "LazySnapshot",
    "Live",
    "LiveSnapshot",
    "Make",
    "MemorySnapshot",
    "Restored",
    "Walk",
    "all_left_out",
    "all_thinned",
    "capture",
    "capture_lazily",
    "digest",
    "entries",
    "find",
    "in_optimizers",
    "is_same_kind",
    "look",
    "named",
    "rebuild",
    "register_adapter",
    "restore",
    "unmakeable",
    "without_optimizers",
]
