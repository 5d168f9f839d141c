"""Live objects to state trees and back: `capture`, `restore`, and what looks at a tree."""

from ._buffers import Buffers as Buffers
from ._digest import digest as digest
from ._fit import Fit as Fit
from ._fit import Make as Make
from ._rebuild import rebuild as rebuild
from ._registry import Adapter as Adapter
from ._registry import register_adapter as register_adapter
from ._restore import Restored as Restored
from ._restore import restore as restore
from ._snapshot import MemorySnapshot as MemorySnapshot
from ._snapshot import capture as capture
from ._tree import entries as entries
from ._tree import find as find
from ._tree import in_optimizers as in_optimizers
from ._walk import Walk as Walk
