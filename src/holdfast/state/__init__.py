"""Live objects to state trees and back: `capture`, `restore`, and functions that inspect a tree."""

from .._shown import shown_in as _shown_in
from ._adapter import Adapter, register_adapter, register_type
from ._block.buffers import Buffers
from ._digest import digest
from ._exclude import all_left_out, all_thinned, is_left_out, without_optimizers
from ._fit import Fit, Make, path_of_place, unmakeable
from ._kinds import is_same, nodes
from ._later.foreseen import unfit
from ._later.own_types import meet_own_types
from ._lazy import LazySnapshot, capture_lazily
from ._live import Gate, Live
from ._named import named
from ._plan import Plan
from ._rebuild import rebuild
from ._registry import is_container, is_known, is_value
from ._restore import Restored, restore
from ._snapshot import LiveSnapshot, MemorySnapshot, capture, look
from ._tree import entries, find, in_optimizers, inexact
from ._walk import Walk
from .adapters.attributes import Attributes, attributes

__all__ = [
    "Adapter",
    "Attributes",
    "Buffers",
    "Fit",
    "Gate",
    "LazySnapshot",
    "Live",
    "LiveSnapshot",
    "Make",
    "MemorySnapshot",
    "Plan",
    "Restored",
    "Walk",
    "all_left_out",
    "all_thinned",
    "attributes",
    "capture",
    "capture_lazily",
    "digest",
    "entries",
    "find",
    "in_optimizers",
    "inexact",
    "is_container",
    "is_known",
    "is_left_out",
    "is_same",
    "is_value",
    "look",
    "meet_own_types",
    "named",
    "nodes",
    "path_of_place",
    "rebuild",
    "register_adapter",
    "register_type",
    "restore",
    "unfit",
    "unmakeable",
    "without_optimizers",
]

_shown_in(__name__, *map(globals().__getitem__, __all__))
