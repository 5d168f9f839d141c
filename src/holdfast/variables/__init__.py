"""The script's own variables, as a part of its run."""

from ._frames import is_own_class as is_own_class
from ._frames import scopes as scopes
from ._liveness import live_names as live_names
from ._noticed import noticed as noticed
from ._turns import is_at_break as is_at_break
from ._watch import MODES as MODES
from ._watch import Mode as Mode
from ._watch import Variables as Variables

__all__ = ["MODES", "Mode", "Variables", "is_at_break", "is_own_class", "live_names", "noticed", "scopes"]
