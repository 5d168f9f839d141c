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
from ...runtime import CANNOT_PROVE, Loop, Resume, Run, check_arguments
from ...variables import Mode, Variables, check_mode

Directory = str | os.PathLike[str]


@final
@dataclass(frozen=True)
class Arguments:
    """What an integration was given, checked against what it can do.

    Attributes:
        policy: when to save, what to keep; the default one, if none was given.
        resume: from where, and how.
    """

    directory: Directory
    policy: Checkpointing
    resume: Resume
    label: str
    allow_reread: bool
    share_directory: bool
    variables: Mode
    on_rollback: Callable[[Any], None] | None

    def loop(
        self,
        objects: dict[str, Any],
        position: Callable[[], Mapping[str, Any]],
        untrained: Sequence[str] = (),
        lacking: Callable[[], Sequence[str]] = lambda: (),
        variables: Variables | None = None,
    ) -> Loop:
        """A loop over these objects, which asks `position` where it is at each save, and `lacking` what it does not have."""
        return Loop(
            self.directory,
            self.policy,
            objects=objects,
            untrained=untrained,
            position=position,
            lacking=lacking,
            variables=variables,
            label=self.label,
            share_directory=self.share_directory,
        )

    def run(self, objects: dict[str, Any]) -> Run:
        """A run of these objects."""
        return Run(
            self.directory,
            objects,
            checkpointing=self.policy,
            resume=self.resume,
            label=self.label,
            share_directory=self.share_directory,
            variables=self.variables,
            on_rollback=self.on_rollback,
        )


@final
@dataclass(frozen=True, kw_only=True)
class Abilities:
    """What an integration can do of what the shared arguments ask for.

    Attributes:
        limits: what of a policy it cannot do.
        refused: why, and what to do instead, for arguments other than their default: `"allow_reread"`, `"on_rollback"`,
            and of how to resume `"strict"` and `"override"`.
        default: makes the policy of those who give none.
        needs_directory: whether "" is refused as a directory.
    """

    limits: Limits
    refused: Mapping[str, str]
    default: Callable[[], Checkpointing] = Checkpointing.default
    needs_directory: bool = True

    def check(
        self,
        directory: Directory,
        checkpointing: Checkpointing | None,
        resume: Any,
        label: str,
        allow_reread: bool,
        share_directory: bool,
        variables: Any,
        on_rollback: Callable[[Any], None] | None,
    ) -> Arguments:
        """All of them, checked; they stand in the order of every integration's signature.

        Raises:
            UsageError: one asks for what the integration cannot do, or makes no sense.
        """
        check_arguments(
            *(directory if directory or self.needs_directory else ".", label),
            allow_reread=allow_reread,
            share_directory=share_directory,
            on_rollback=on_rollback,
        )
        how = {name: why for name, why in self.refused.items() if name in ("strict", "override")}
        how["prove"] = CANNOT_PROVE
        if "strict" in how:  # the framework loads its own state, and knows no part of it
            how["on_structure"] = "the framework builds the objects; change them where it does"
        asked = {"allow_reread": allow_reread, "on_rollback": on_rollback is not None}
        for name, is_asked in asked.items():
            if is_asked and name in self.refused:
                raise UsageError(f"{name} does not work in {self.limits.where}: {self.refused[name]}.")
        policy = self.limits.check(self.default() if checkpointing is None else checkpointing)
        settled = Resume.of(resume, cannot=how)
        mode = check_mode(variables)
        return Arguments(
            *(directory, policy, settled, label, allow_reread), share_directory, mode, on_rollback
        )
