"""The script's own variables, as a part of its run."""

from ._devices import device_of as device_of
from ._devices import on_device as on_device
from ._frames import is_own_class as is_own_class
from ._frames import scopes as scopes
from ._liveness import live_names as live_names
from ._watch import Mode as Mode
from ._watch import Variables as Variables

__all__ = ["Mode", "Variables", "device_of", "is_own_class", "live_names", "on_device", "scopes"]
