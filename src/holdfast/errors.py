"""Every error that Holdfast raises itself.

The tree says what the caller does next:

    HoldfastError                                           read the message: it ends with what to do
    ├── UsageError (ValueError)                             change the call
    │   ├── GraphError                                      fix the model graph where the message says
    │   ├── NothingSavedError                               save on a hook that comes, or iterate by the run's loops
    │   └── UnsupportedStateError (TypeError)               leave the value out, or register an adapter
    ├── CheckpointNotFoundError (FileNotFoundError)         look elsewhere (`holdfast ls`), or start from scratch
    ├── CheckpointExistsError (FileExistsError)             choose another name, or pass overwrite=True
    │   └── OutputExistsError                               choose another file name, or pass overwrite=True
    ├── CheckpointPinnedError                               unpin the checkpoint first, if you want to remove it
    ├── CheckpointThinnedError                              resume from a newer one; restore only models from it
    ├── CheckpointReplacedError                             open it again: its name now holds another checkpoint
    ├── ForeignFileError (ValueError)                       check that the file is what its name says
    ├── FormatVersionError                                  install a newer Holdfast
    ├── RunActiveError                                      wait, stop the other run, or use another directory
    ├── DamagedError                                        use an intact checkpoint (`holdfast verify` lists them)
    │   ├── CheckpointDamagedError                          use another checkpoint: a file is missing or malformed
    │   └── PieceDamagedError                               use another checkpoint: stored bytes have changed
    ├── CheckpointUnreadableError (OSError)                 see to the disk, the permission or the mount, and try again
    │   └── TooManyOpenFilesError                           raise the limit, or close what the script holds open
    ├── CrewError                                           see which ranks are missing; restart the job
    ├── SnapshotTornError                                   save again with a snapshot by copy
    ├── SaveError (OSError)                                 free space or fix permissions; earlier ones are safe
    │   ├── NotChangedError                                 see to the disk or the permission, and try again
    │   └── CommitUncertainError                            check the disk, then save again
    ├── NothingProvedError                              let the script run, save, and train longer; then try again
    ├── DivergenceError                                     resume from the newest finite one, with something changed
    ├── ExactnessError                                      find what is missing from the state, such as a generator
    │   └── NotReproducedError                              look at the leaf that differs first
    └── RestoreError                                        see below; only one kind leaves objects changed
        ├── StateMismatchError (ValueError)                 build the objects as saved, or do what its hint says
        │   └── StatesDifferError                           combine only the parts that match
        ├── RestoreIncompleteError                          restore an intact checkpoint before using the objects
        └── PlanMismatchError (ValueError)                  put the plan back, or start in another directory

Beside them stands `Preempted` (SystemExit): a run that was told to stop has saved and ends.

All keep their facts as attributes and survive pickling (a worker process may raise them).
"""

from __future__ import annotations

import copyreg
from collections.abc import Sequence
from typing import Any

from ._wording import a, ranks_in_words


class HoldfastError(Exception):
    """Base of every error of this library."""

    def __reduce__(self) -> tuple[Any, ...]:
        # OSError and friends rebuild from a filtered `args`; the facts live in __dict__.
        return copyreg.__newobj__, (type(self), *self.args), self.__dict__  # type: ignore[attr-defined]


class Preempted(SystemExit):
    """A signal told the run to stop; it has saved as its policies say, and ends the process.

    Not an `Exception`, so code that catches those in order to continue does not catch this.
    """

    def __init__(self, signal: str, code: int) -> None:
        super().__init__(code)
        self.signal = signal

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.signal, self.code)


class UsageError(HoldfastError, ValueError):
    """The call asks for something that has no meaning; nothing was changed."""


class GraphError(UsageError):
    """A model graph cannot be built or run: a cycle, a missing input, or a duplicate label."""


class NothingSavedError(UsageError):
    """A run has ended, and no checkpoint was saved: none of the hooks of its policy has come. The objects are trained."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why

    def __str__(self) -> str:
        return (
            f"the run has ended and has saved nothing: {self.why}. The objects are as trained: to keep them, "
            "holdfast.save(path, state) them now, and give the policy a hook that comes."
        )


class UnsupportedStateError(UsageError, TypeError):
    """A value that cannot be saved safely, found before anything was written."""

    def __init__(self, path: str, kind: str, hint: str = "") -> None:
        super().__init__(path, kind, hint)
        self.path, self.kind, self.hint = path, kind, hint

    def __str__(self) -> str:
        hint = (
            self.hint
            or "Leave it out, turn it into arrays or plain data, or register_adapter() for its type."
        )
        return f"cannot save {self.path!r}: {a(self.kind)} is not supported. {hint}"


class CheckpointNotFoundError(HoldfastError, FileNotFoundError):
    """There is no checkpoint at this path."""

    def __init__(self, place: str, why: str = "there is no checkpoint there") -> None:
        super().__init__(place, why)
        self.place, self.why = place, why

    def __str__(self) -> str:
        return f"{self.place}: {self.why}. `holdfast ls DIR` lists the checkpoints in DIR."


class CheckpointExistsError(HoldfastError, FileExistsError):
    """A checkpoint of this name already exists and `overwrite=False`."""

    def __init__(self, place: str) -> None:
        super().__init__(place)
        self.place = place

    def __str__(self) -> str:
        return (
            f"checkpoint {self.place!r} already exists. "
            "Choose another name, or pass overwrite=True (--overwrite on the command line)."
        )


class OutputExistsError(CheckpointExistsError):
    """A file of this name already exists and `overwrite=False`."""

    def __str__(self) -> str:
        return f"{self.place} already exists. Choose another name, or pass overwrite=True (--overwrite)."


class ForeignFileError(HoldfastError, ValueError):
    """A file of another format that cannot be imported: it is not what its name says, or is not safe to read."""

    def __init__(self, place: str, why: str) -> None:
        super().__init__(place, why)
        self.place, self.why = place, why

    def __str__(self) -> str:
        return f"{self.place} cannot be imported: {self.why}"


class RunActiveError(HoldfastError):
    """Another live run uses this experiment directory: of another process, or of this one (`is_own`)."""

    def __init__(self, directory: str, host: str, pid: int, is_own: bool = False) -> None:
        super().__init__(directory, host, pid, is_own)
        self.directory, self.host, self.pid, self.is_own = directory, host, pid, is_own

    def __str__(self) -> str:
        if self.is_own:
            who, do = f"another run of this process ({self.pid})", "End that run (leave its `with` block)"
        else:
            who, do = f"process {self.pid} on {self.host}", "Wait for it"
        return (
            f"{self.directory}: {who} uses this directory. "
            f"{do}, choose another directory, or pass share_directory=True."
        )


class DamagedError(HoldfastError):
    """A checkpoint does not hold what was saved."""


class CheckpointDamagedError(DamagedError):
    """A bundle that is foreign, malformed or truncated, or that lacks a file."""

    def __init__(self, place: str, what: str) -> None:
        super().__init__(place, what)
        self.place, self.what = place, what

    def __str__(self) -> str:
        return f"{self.place} is damaged: {self.what}. `holdfast verify DIR` lists the intact checkpoints."


class PieceDamagedError(DamagedError):
    """Stored bytes no longer have the digest that was recorded for them."""

    def __init__(self, place: str, leaf: str, file: str, expected: str, found: str) -> None:
        super().__init__(place, leaf, file, expected, found)
        self.place, self.leaf, self.file = place, leaf, file
        self.expected, self.found = expected, found

    @property
    def what(self) -> str:
        """What is damaged, without the path and the advice."""
        return (
            f"leaf {self.leaf!r} is damaged in {self.file}: its digest was "
            f"{self.expected[:12]} and is now {self.found[:12]}"
        )

    def __str__(self) -> str:
        return f"{self.place}: {self.what}. `holdfast verify DIR` lists the intact checkpoints."


class CheckpointUnreadableError(HoldfastError, OSError):
    """The system refuses to read what lies here (no permission, a failing disk or mount); it may be intact."""

    def __init__(self, place: str, why: str) -> None:
        super().__init__(place, why)
        self.place, self.why = place, why

    def __str__(self) -> str:
        return (
            f"{self.place}: {self.why}, which says nothing of its bytes, so nothing was skipped or changed. See to the disk, "
            "the mount or the permission and try again; where it stays like this, name another checkpoint."
        )


class TooManyOpenFilesError(CheckpointUnreadableError):
    """A checkpoint cannot be read because this process, or the machine, can open no more files; it may be intact."""

    def __str__(self) -> str:
        return (
            f"{self.place} cannot be read ({self.why}), which says nothing of its bytes. Raise the limit "
            "(`ulimit -n 4096`), or close what the script holds open."
        )


class FormatVersionError(HoldfastError):
    """The bundle was written in a format that this version does not know."""

    def __init__(self, place: str, found: int, known: int) -> None:
        super().__init__(place, found, known)
        self.place, self.found, self.known = place, found, known

    def __str__(self) -> str:
        return (
            f"{self.place} has format version {self.found}; this version of Holdfast reads up to {self.known}. "
            "Install a newer one; the bundle was left untouched."
        )


class CheckpointReplacedError(HoldfastError):
    """The name now holds a different checkpoint from the one that was listed or opened."""

    def __init__(self, place: str, expected: str, found: str | None) -> None:
        super().__init__(place, expected, found)
        self.place, self.expected, self.found = place, expected, found

    def __str__(self) -> str:
        now = f"{self.found[:12]}" if self.found else "nothing"
        return f"{self.place} held checkpoint {self.expected[:12]} and now holds {now}. Open it again."


class CheckpointPinnedError(HoldfastError):
    """The checkpoint is pinned, so it was not removed."""

    def __init__(self, place: str) -> None:
        super().__init__(place)
        self.place = place

    def __str__(self) -> str:
        return f"{self.place} is pinned; nothing was removed. `holdfast unpin` removes the pin."


class CheckpointThinnedError(HoldfastError):
    """The checkpoint was thinned: its models can be restored, but no run can resume from it."""

    def __init__(self, place: str) -> None:
        super().__init__(place)
        self.place = place

    def __str__(self) -> str:
        return (
            f"{self.place} was thinned: the optimizer's state was dropped, so no run can resume from it. "
            "Its models can be restored; to resume, choose a newer checkpoint."
        )


class SnapshotTornError(HoldfastError):
    """An array was changed before the snapshot had copied it, so the save was abandoned."""

    def __init__(self, leaf: str, why: str) -> None:
        super().__init__(leaf, why)
        self.leaf, self.why = leaf, why

    def __str__(self) -> str:
        return f"the snapshot is torn at {self.leaf!r}: {self.why}"


class SaveError(HoldfastError, OSError):
    """A save failed; every earlier checkpoint is as it was."""

    def __init__(self, place: str, why: str) -> None:
        super().__init__(place, why)
        self.place, self.why = place, why

    def __str__(self) -> str:
        return f"could not save {self.place}: {self.why}. Earlier checkpoints are untouched."


class CrewError(HoldfastError):
    """Processes that save or restore together do not reach each other. `missing`: the ranks that did not answer."""

    def __init__(self, what: str, why: str = "", missing: Sequence[int] = ()) -> None:
        super().__init__(what, why, tuple(missing))
        self.what, self.why, self.missing = what, why, tuple(missing)

    @classmethod
    def silent(cls, ranks: Sequence[int], timeout_s: float) -> CrewError:
        """The error of ranks that have not answered in that many seconds."""
        return cls(f"{ranks_in_words(ranks)} did not answer within {timeout_s:g} s", missing=ranks)

    def __str__(self) -> str:
        return f"{self.what} ({self.why})" if self.why else self.what


class NotChangedError(SaveError):
    """The disk refused to remove, pin or unpin a checkpoint; it is as it was."""

    def __str__(self) -> str:
        return f"{self.place}: {self.why}. It is as it was, and so are all others."


class CommitUncertainError(SaveError):
    """The new checkpoint is in place, but the disk did not confirm that it is durable."""

    def __str__(self) -> str:
        return (
            f"{self.place}: the new checkpoint is in place, but it could not be made durable ({self.why}). "
            "After a power cut the name may hold the old one or the new one. Nothing was removed."
        )


class ExactnessError(HoldfastError):
    """A run, or a part of it, was repeated and did not reach the same state."""


class NothingProvedError(HoldfastError):
    """A script could not be interrupted while it trained (it fails, saves nothing, or ends before): nothing is known of how it resumes."""


class NotReproducedError(ExactnessError):
    """A run from one checkpoint to the next, repeated, reached a different state.

    `place` is the checkpoint, `leaf` the first of the `number` parts of the state that differ.
    """

    def __init__(self, place: str, leaf: str, number: int) -> None:
        super().__init__(place, leaf, number)
        self.place, self.leaf, self.number = place, leaf, number

    def __str__(self) -> str:
        more = f", and {self.number - 1} more" if self.number > 1 else ""
        return (
            f"the state differs from that of {self.place}: {self.leaf!r} is not the same{more}. Something that the script "
            "uses is not part of the state: an unseeded generator, the clock, a nondeterministic kernel."
        )


class DivergenceError(HoldfastError):
    """The training state is no longer finite, and the policy (`on_divergence`) says to stop.

    `why` says what was found; `newest_finite` is the path of the newest finite checkpoint, None if there is none.
    `can_roll_back`: whether the policy asks for a rollback to it and `max_rollbacks` is not used up.
    """

    def __init__(self, why: str, newest_finite: str | None = None, can_roll_back: bool = False) -> None:
        super().__init__(why, newest_finite, can_roll_back)
        self.why, self.newest_finite, self.can_roll_back = why, newest_finite, can_roll_back

    def __str__(self) -> str:
        if self.newest_finite is None:
            return f"the run diverged: {self.why}. None of its checkpoints is finite."
        return (
            f"the run diverged: {self.why}. The newest checkpoint that is finite is {self.newest_finite}: resume from there "
            "with something changed (a smaller step, another seed); unchanged, the run would diverge again."
        )


class RestoreError(HoldfastError):
    """A state could not be restored into live objects."""


class StateMismatchError(RestoreError, ValueError):
    """The saved state does not fit the live objects; nothing was changed.

    `problems` holds one sentence per leaf, each starting with its path; `hint` says what to do.
    """

    def __init__(
        self, problems: Sequence[str], hint: str = "Build the objects as they were when saved."
    ) -> None:
        super().__init__(tuple(problems))
        self.problems, self.hint = tuple(problems), hint

    @property
    def _lines(self) -> str:
        """The first ten problems, a line each."""
        more = len(self.problems) - 10
        return "\n".join([f"  {each}" for each in self.problems[:10]] + [f"  … and {more} more"] * (more > 0))

    def __str__(self) -> str:
        number = f"{len(self.problems)} difference{'' if len(self.problems) == 1 else 's'}"
        return f"the saved state does not fit ({number}), nothing was changed:\n{self._lines}\n{self.hint}"


class StatesDifferError(StateMismatchError):
    """The checkpoints to be combined differ in arrays, shapes or dtypes; nothing was written."""

    def __str__(self) -> str:
        return (
            f"the states do not fit each other, nothing was written:\n{self._lines}\n"
            "`holdfast diff` shows every difference; `--only` chooses what is combined."
        )


class RestoreIncompleteError(RestoreError):
    """Damage was found while live objects were being filled; they now hold a mixture of old and restored state."""

    def __init__(self, leaf: str, why: str) -> None:
        super().__init__(leaf, why)
        self.leaf, self.why = leaf, why

    def __str__(self) -> str:
        return (
            f"the restore stopped at leaf {self.leaf!r}: {self.why}. The live objects hold a mixture: "
            "restore an intact checkpoint before you use them."
        )


class PlanMismatchError(RestoreError, ValueError):
    """The experiment or run is not the one that was saved, so it cannot resume from that checkpoint.

    `differences` holds a sentence each; `of` says of what they are ("plan", "run"), `hint` what to do.
    """

    def __init__(
        self,
        differences: Sequence[str],
        of: str = "plan",
        hint: str = "Put the plan back as it was, or start again with resume=False in another directory.",
    ) -> None:
        super().__init__(tuple(differences))
        self.differences, self.of, self.hint = tuple(differences), of, hint

    def __str__(self) -> str:
        lines = "\n".join(f"  {difference}" for difference in self.differences)
        return f"the checkpoint belongs to another {self.of}:\n{lines}\n{self.hint}"
