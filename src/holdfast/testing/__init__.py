"""Disks that misbehave in one way each, to test code that uses a disk."""

from .._shown import shown_in as _shown_in
from ._counting import CountingDisk as CountingDisk
from ._crash_states import crash_states as crash_states
from ._crashing import Crash as Crash
from ._crashing import CrashingDisk as CrashingDisk
from ._crashing import KillingDisk as KillingDisk
from ._faulty import FaultyDisk as FaultyDisk
from ._image import Image as Image
from ._image import image_of as image_of
from ._recording import Event as Event
from ._recording import RecordingDisk as RecordingDisk
from ._tapped import Operation as Operation
from ._tapped import TappedDisk as TappedDisk

__all__ = [
    "CountingDisk",
    "Crash",
    "CrashingDisk",
    "Event",
    "FaultyDisk",
    "Image",
    "KillingDisk",
    "Operation",
    "RecordingDisk",
    "TappedDisk",
    "crash_states",
    "image_of",
]

_shown_in(__name__, *map(globals().__getitem__, __all__))
