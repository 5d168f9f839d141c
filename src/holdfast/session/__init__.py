"""Saving and restoring: a rule at work in a directory, and the checkpoints that come of it."""

from ._alone import Part as Part
from ._alone import StreamedSnapshot as StreamedSnapshot
from ._alone import save_alone as save_alone
from ._checkpoint import Checkpoint as Checkpoint
from ._checkpoint import Place as Place
from ._checkpoint import open as open
from ._checkpoint import scan as scan
from ._checkpoint import source_of as source_of
from ._directory import Accounting as Accounting
from ._directory import ExperimentDirectory as ExperimentDirectory
from ._remove import removable as removable
from ._remove import remove as remove
from ._session import Session as Session
