"""How a checkpoint is taken and written: `Lazy` and `Write`."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias, final

from . import _values
from ._groups import group, settle

Durability = Literal["full", "process"]
Trusted: TypeAlias = str | os.PathLike[str] | list[str | os.PathLike[str]] | tuple[Path, ...]


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Write:
    """How checkpoints are written to the disk.

    Args:
        durability: `"full"` waits until a save would survive a power cut, `"process"` only the process.
        background: whether training continues while a save is written; a failure surfaces at the next hook.
        busy: what a save at an epoch or batch does while the one before is still being written: `"wait"` or `"skip"`.
            Saves at the ends of phases and of the experiment always wait.
        errors: what a save that fails does: `"raise"`; `"warn"` and train on; `"retry"` twice, then raise.
        share_with: directories of trusted bundles, one or a list; arrays found there are not written again.

    Raises:
        UsageError: a value that has no meaning.
    """

    durability: Durability = "full"
    background: bool = True
    busy: Literal["wait", "skip"] = "wait"
    errors: Literal["raise", "warn", "retry"] = "raise"
    share_with: Trusted = ()

    def __post_init__(self) -> None:
        _values.one_of("durability", self.durability, ("full", "process"))
        _values.flag("background", self.background)
        _values.one_of("busy", self.busy, ("wait", "skip"))
        _values.one_of("errors", self.errors, ("raise", "warn", "retry"))
        settle(self, share_with=_values.directory_paths("share_with", self.share_with))

    @property
    def trusted(self) -> tuple[Path, ...]:
        """`share_with` as paths."""
        return _values.directory_paths("share_with", self.share_with)


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Lazy:
    """Copy what torch optimizers alone write while training continues, under the contract of `docs/snapshots.md`.

    Args:
        check: hold every save to that contract by comparing bytes, not only the first two.

    Raises:
        UsageError: `check` is not True or False.
    """

    check: bool = False

    def __post_init__(self) -> None:
        _values.flag("check", self.check)


def snapshot_from(value: Any) -> Lazy | None:
    """What is passed as `snapshot=`: "copy" (None), "lazy", a `Lazy`, or its plain data."""
    if isinstance(value, str):
        return Lazy() if _values.one_of("snapshot", value, ("copy", "lazy")) == "lazy" else None
    return group(Lazy, "snapshot", value, "'copy', 'lazy' or Lazy(check=True)")
