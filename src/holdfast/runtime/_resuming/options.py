"""`Resume`: which checkpoint to resume from, and how."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from typing import Any, Literal, TypeAlias

from ... import bundle
from ...checkpoint import Opened, Place
from ...errors import UsageError
from ...records import CheckpointRecord

Origin: TypeAlias = Literal[True] | Place
"""True: the newest complete checkpoint. Else a certain one, such as `pretrain/pretrain_epoch2`."""


CANNOT_PROVE = "a Run does it; holdfast replay proves any other run"
"""Why `Resume(prove=True)` is refused elsewhere."""


@dataclass(frozen=True, slots=True)
class Resume:
    """How a run begins: `resume=Resume("train_epoch3", override="lr")`; `resume=True` is short for `Resume()`.

    Args:
        source: True: the newest complete checkpoint, or from scratch if there is none. A path or name: that
            checkpoint. False: from scratch.
        strict: whether every object must fit its saved state, and none may be missing on either side. With False
            what does not fit stays as the script has made it, and the verdict says so.
        override: one or several options of torch's optimizers, such as "lr", for which the script's values win over
            the checkpoint's.
        prove: whether the script is first run again, in another process, from the checkpoint before that one to it, and
            both states are compared. If they are the same, the verdict of an exact resume is `"proved"`. It takes as
            long as that part of the run took, and as much memory as a second run.
        on_structure: called with the record of the checkpoint once it is chosen and before it is compared with the
            objects: the place to bring them to its structure, where that changes in mid-run (layers that are unfrozen
            by `add_param_group`, another optimizer). Every byte of the checkpoint has been checked by then. May
            return a mapping of objects that take the place of those of the same name. A rollback calls it again.

    Raises:
        UsageError: a value that has no meaning.
    """

    source: bool | Place = True
    _: KW_ONLY
    strict: bool = True
    override: str | Sequence[str] = ()
    prove: bool = False
    on_structure: Callable[[CheckpointRecord], Mapping[str, Any] | None] | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.source, bool) and not _is_place(self.source):
            raise UsageError(
                f"resume must be True, False, the name or path of a checkpoint, or Resume(…), not {self.source!r}."
            )
        if not isinstance(self.strict, bool):
            raise UsageError(f"strict must be True or False, not {self.strict!r}.")
        if not isinstance(self.prove, bool):
            raise UsageError(f"prove must be True or False, not {self.prove!r}.")
        names = (self.override,) if isinstance(self.override, str) else self.override
        if not isinstance(names, Sequence) or not all(isinstance(each, str) and each for each in names):
            raise UsageError(
                f'override names options of the optimizer, such as "lr" or ("lr", "betas"), not {self.override!r}.'
            )
        object.__setattr__(self, "override", tuple(names))
        if self.on_structure is not None and not callable(self.on_structure):
            raise UsageError(f"on_structure must be a function of a record, not {self.on_structure!r}.")

    @classmethod
    def of(cls, resume: Any, *, cannot: Mapping[str, str] | None = None) -> Resume:
        """What a caller has passed as `resume=`: itself if it is a `Resume` already.

        `cannot`: of "strict", "override", "prove" and "on_structure", what this place cannot do, and why.

        Raises:
            UsageError: it has no meaning, or asks for what cannot be done here.
        """
        asked = resume if isinstance(resume, Resume) else cls(resume)
        plain = cls(asked.source)
        for name, why in (cannot or {}).items():
            if getattr(asked, name) != getattr(plain, name):
                raise UsageError(f"Resume({name}={getattr(asked, name)!r}) cannot be used here: {why}.")
        return asked

    @property
    def origin(self) -> Origin | None:
        """The checkpoint to resume from; None: begin from scratch."""
        return None if self.source is False else self.source

    @property
    def overridden(self) -> tuple[str, ...]:
        """`override`, as names."""
        return tuple(self.override)


def _is_place(value: Any) -> bool:
    if isinstance(value, bundle.Listed | Opened):
        return True
    text = os.fspath(value) if isinstance(value, str | os.PathLike) else None
    return isinstance(text, str) and bool(text.strip()) and "\0" not in text
