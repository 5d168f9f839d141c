"""Disks that misbehave in one way each, to test code that uses a disk."""

from .._shown import shown_in as _shown_in
from ._counting import CountingDisk
from ._crash_states import crash_states
from ._crashing import Crash, CrashingDisk, KillingDisk
from ._faulty import FaultyDisk
from ._image import Image, image_of
from ._recording import Event, RecordingDisk
from ._tapped import Operation, TappedDisk

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
