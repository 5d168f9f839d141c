"""The script's own variables, as a part of its run."""

from ._frames import Scope as Scope
from ._frames import is_of_script as is_of_script
from ._frames import is_own_class as is_own_class
from ._frames import scopes as scopes
from ._liveness import live_names as live_names

__all__ = ["Scope", "is_of_script", "is_own_class", "live_names", "scopes"]
