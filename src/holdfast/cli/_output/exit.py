"""The exit codes of every command, in one place.

0: success. 130: interrupted by Ctrl+C. 141: the reader of the output closed it. The others are below.
"""

from __future__ import annotations

from ... import errors
from ...verdict import Verdict

OK = 0
DAMAGED = 1
NEWER_FORMAT = 3
REFUSED = 5
INTERRUPTED = 130
BROKEN_PIPE = 141

# The first that fits decides.
_CODES: tuple[tuple[int, str, tuple[type[errors.HoldfastError], ...]], ...] = (
    (DAMAGED, "a checkpoint is damaged", (errors.DamagedError,)),
    (
        2,
        "wrong usage, or no such checkpoint, or an ambiguous one",
        (
            errors.UsageError,
            errors.CheckpointNotFoundError,
            errors.CheckpointExistsError,
            errors.CheckpointPinnedError,
        ),
    ),
    (NEWER_FORMAT, "a newer Holdfast wrote it", (errors.FormatVersionError,)),
    (4, "another process is active there", (errors.RunActiveError, errors.CheckpointReplacedError)),
    (
        REFUSED,
        "writing failed, or the system refuses to read",
        (errors.SaveError, errors.SnapshotTornError, errors.CheckpointUnreadableError, errors.CrewError),
    ),
    (6, "a state does not fit", (errors.RestoreError, errors.CheckpointThinnedError, errors.DivergenceError)),
    (7, "a file of another format cannot be read", (errors.ForeignFileError,)),
    (8, "a run did not reproduce the same state", (errors.ExactnessError,)),
    (9, "nothing was proved", (errors.NothingProvedError,)),
)


VERDICTS = {
    Verdict.PROVED: OK,
    Verdict.EXACT: 10,
    Verdict.EXACT_BUT_FOR: 11,
    Verdict.NOT_EXACT: 8,
    Verdict.NOT_COMPARED: 9,
}
"""Of `check`, by what it found."""


def exit_code(err: errors.HoldfastError) -> int:
    return next((code for code, _, kinds in _CODES if isinstance(err, kinds)), 70)


def describe() -> str:
    """All codes in a sentence, for `--help`."""
    listed = [f"{OK} success", *(f"{code} {meaning}" for code, meaning, _ in _CODES)]
    listed += [f"{VERDICTS[each]} {each}, not proved" for each in (Verdict.EXACT, Verdict.EXACT_BUT_FOR)]
    return f"Exit codes: {'; '.join(listed)}; {INTERRUPTED} interrupted."
