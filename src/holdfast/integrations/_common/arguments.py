"""The arguments that every integration takes: one name, one default and one text each, checked in one place.

The text stands in the docstring of each integration, line by line the same; a test compares them.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

from ...errors import UsageError
from ...policy import Checkpointing, Limits
from ...runtime import Loop, Wanted, asked_for
from .interim import Resume, default_policy

Directory = str | os.PathLike[str]


@final
@dataclass(frozen=True, kw_only=True)
class Arguments:
    """What an integration was given, checked against what it can do.

    Attributes:
        policy: when to save, what to keep; the default one, if none was given.
        how: to resume, as it was given.
        resume: from where; None to start from scratch.
    """

    directory: Directory
    policy: Checkpointing
    how: Resume
    resume: Wanted | None
    label: str
    allow_reread: bool
    share_directory: bool
    on_rollback: Callable[[Any], None] | None

    def loop(
        self,
        objects: dict[str, Any],
        position: Callable[[], Mapping[str, Any]],
        untrained: Sequence[str] = (),
    ) -> Loop:
        """A loop over these objects, which asks `position` where it is at each save."""
        return Loop(
            self.directory,
            self.policy,
            objects=objects,
            untrained=untrained,
            position=position,
            label=self.label,
            share_directory=self.share_directory,
        )


@final
@dataclass(frozen=True, kw_only=True)
class Abilities:
    """What an integration can do of what the shared arguments ask for.

    Attributes:
        limits: what of a policy it cannot do.
        refused: why, and what to do instead, for arguments other than their default: `"allow_reread"`, `"on_rollback"`,
            and of how to resume `"strict"` and `"override"`.
        default_hook: what stands in for the end of an epoch in the default policy, where there are no epochs.
    """

    limits: Limits
    refused: Mapping[str, str]
    default_hook: str = "epoch_end"

    def check(
        self,
        directory: Directory,
        *,
        checkpointing: Checkpointing | None,
        resume: Any,
        label: str = "train",
        allow_reread: bool = False,
        share_directory: bool = False,
        on_rollback: Callable[[Any], None] | None = None,
    ) -> Arguments:
        """All of them, checked.

        Raises:
            UsageError: one asks for what the integration cannot do, or makes no sense.
        """
        how = resume if isinstance(resume, Resume) else Resume(resume)
        self.refuse(how, allow_reread=allow_reread, on_rollback=on_rollback)
        return Arguments(
            directory=directory,
            policy=self.policy(checkpointing),
            how=how,
            resume=asked_for(how.source),
            label=label,
            allow_reread=allow_reread,
            share_directory=share_directory,
            on_rollback=on_rollback,
        )

    def policy(self, given: Checkpointing | None) -> Checkpointing:
        """The given one, or the default one for the hooks that there are."""
        return self.limits.check(default_policy(save_on=self.default_hook) if given is None else given)

    def refuse(
        self,
        how: Resume,
        *,
        allow_reread: bool = False,
        on_rollback: Callable[[Any], None] | None = None,
    ) -> None:
        """UsageError for the first argument that asks for what cannot be done."""
        asked = {
            "strict": ("resume=Resume(strict=False)", not how.strict),
            "override": ("resume=Resume(override=…)", bool(how.override)),
            "allow_reread": ("allow_reread=True", allow_reread),
            "on_rollback": ("on_rollback=", on_rollback is not None),
        }
        for name, why in self.refused.items():
            what, is_asked = asked[name]
            if is_asked:
                raise UsageError(f"{what} does not work in {self.limits.where}: {why}.")
