"""Disks that misbehave in one way each, to test what stands on a disk."""

from ._crashing import Crash as Crash
from ._crashing import CrashingDisk as CrashingDisk
from ._faulty import FaultyDisk as FaultyDisk
from ._recording import Event as Event
from ._recording import RecordingDisk as RecordingDisk
from ._recording import crash_states as crash_states
from ._tapped import Operation as Operation
from ._tapped import TappedDisk as TappedDisk
