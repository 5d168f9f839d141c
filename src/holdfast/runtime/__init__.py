"""A live run: a policy at work in a directory, from the hook that makes a save due to the resume that uses it."""

from .._shown import shown_in as _shown_in
from ._arguments import check_arguments
from ._costs import Accounting
from ._decorator.resumable import current_run, resumable
from ._directory import ExperimentDirectory
from ._hooks import Hooks
from ._loop import Loop
from ._prune import plan, prune
from ._resuming.data import check_position
from ._resuming.expected import Ahead, stream_digests, streams_used
from ._resuming.hyperparameters import PLACES, check_override, options_of, said_of, settle
from ._resuming.options import CANNOT_PROVE, Origin, Resume
from ._resuming.report import ResumeReport, Resumption
from ._resuming.resume import resume_from
from ._resuming.said import say_end
from ._resuming.saved_state import SavedState
from ._run import Run
from ._saving.lacking import Lacking, warn_lacking
from ._saving.manual import save_manually
from ._session import Session
from ._standalone import load, save
from ._table import SEGMENT_ROWS, Table

__all__ = [
    "CANNOT_PROVE",
    "PLACES",
    "SEGMENT_ROWS",
    "Accounting",
    "Ahead",
    "ExperimentDirectory",
    "Hooks",
    "Lacking",
    "Loop",
    "Origin",
    "Resume",
    "ResumeReport",
    "Resumption",
    "Run",
    "SavedState",
    "Session",
    "Table",
    "check_arguments",
    "check_override",
    "check_position",
    "current_run",
    "load",
    "options_of",
    "plan",
    "prune",
    "resumable",
    "resume_from",
    "said_of",
    "save",
    "save_manually",
    "say_end",
    "settle",
    "stream_digests",
    "streams_used",
    "warn_lacking",
]

_shown_in(__name__, *map(globals().__getitem__, __all__))
