"""Saving and restoring: a rule at work in a directory, and the checkpoints that come of it."""

from ._checkpoint import Checkpoint as Checkpoint
from ._checkpoint import archive as archive
from ._checkpoint import open as open
from ._checkpoint import scan as scan
from ._directory import Accounting as Accounting
from ._directory import ExperimentDirectory as ExperimentDirectory
from ._loop import RESERVED as RESERVED
from ._loop import Loop as Loop
from ._mapped import MappedArrays as MappedArrays
from ._options import merged as merged
from ._options import options_of as options_of
from ._options import settle as settle
from ._remove import removable as removable
from ._remove import remove as remove
from ._resume import ResumeReport as ResumeReport
from ._resume import Wanted as Wanted
from ._resume import find as find
from ._resume import go_on as go_on
from ._session import Session as Session
from ._streams import stream_digests as stream_digests
from ._streams import streams_used as streams_used
from ._table import SEGMENT_ROWS as SEGMENT_ROWS
from ._table import Table as Table
