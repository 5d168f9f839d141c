"""The script's own variables, as a part of its run."""

from ._frames import is_at_break as is_at_break
from ._frames import is_of_script as is_of_script
from ._frames import is_own_class as is_own_class
from ._frames import scopes as scopes
from ._held import Held as Held
from ._kinds import attributes as attributes
from ._kinds import device_of as device_of
from ._kinds import has_own_attributes as has_own_attributes
from ._kinds import is_data as is_data
from ._kinds import is_ignored as is_ignored
from ._kinds import is_iterator as is_iterator
from ._kinds import is_module as is_module
from ._kinds import on_device as on_device
from ._kinds import position_of as position_of
from ._liveness import live_names as live_names
from ._looks.turn import place_in_turn as place_in_turn
from ._names import check_patterns as check_patterns
from ._noticed import noticed as noticed
from ._other_modules import other_modules as other_modules
from ._watch import ALL_OF_THEM as ALL_OF_THEM
from ._watch import KeptIds as KeptIds
from ._watch import Mode as Mode
from ._watch import Variables as Variables
from ._watch import check_mode as check_mode
from ._watch import is_ignored_by_a_run as is_ignored_by_a_run

__all__ = [
    "ALL_OF_THEM",
    "Held",
    "KeptIds",
    "Mode",
    "Variables",
    "attributes",
    "check_mode",
    "check_patterns",
    "device_of",
    "has_own_attributes",
    "is_at_break",
    "is_data",
    "is_ignored",
    "is_ignored_by_a_run",
    "is_iterator",
    "is_module",
    "is_of_script",
    "is_own_class",
    "live_names",
    "noticed",
    "on_device",
    "other_modules",
    "place_in_turn",
    "position_of",
    "scopes",
]
