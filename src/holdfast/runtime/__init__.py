"""A live run: a policy at work in a directory, from the hook that makes a save due to the resume that uses it."""

from ._costs import Accounting
from ._directory import ExperimentDirectory
from ._expected import Ahead, stream_digests, streams_used
from ._hooks import Hooks
from ._hyperparameters import merged, options_of, settle
from ._loop import Loop
from ._manual import save_by_hand
from ._prune import plan, prune
from ._resume import ResumeReport, Wanted, asked_for, find, go_on
from ._run import Run
from ._session import Session
from ._table import SEGMENT_ROWS, Table

__all__ = [
    "SEGMENT_ROWS",
    "Accounting",
    "Ahead",
    "ExperimentDirectory",
    "Hooks",
    "Loop",
    "ResumeReport",
    "Run",
    "Session",
    "Table",
    "Wanted",
    "asked_for",
    "find",
    "go_on",
    "merged",
    "options_of",
    "plan",
    "prune",
    "save_by_hand",
    "settle",
    "stream_digests",
    "streams_used",
]
