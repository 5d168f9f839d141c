"""The script's own variables, as a part of its run."""

from ._frames import is_own_class as is_own_class
from ._frames import scopes as scopes
from ._held import Held as Held
from ._liveness import live_names as live_names
from ._watch import Mode as Mode
from ._watch import Variables as Variables

__all__ = ["Held", "Mode", "Variables", "is_own_class", "live_names", "scopes"]
