"""What somebody else's loop cannot do of what a rule may ask for: said when the rule is given to it, and not hours later."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ..errors import UsageError
from ._checkpointing import Checkpointing
from ._context import TRAINING_HOOKS
from ._options import Options

_PLAIN = Options()


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Of what a rule may ask for, what does not work in one place.

    Attributes:
        where: the place, in words.
        hooks: those that it has.
        in_memory: whether checkpoints can be kept in memory, too.
        refused: why, and what to do instead, by the option: `"exclude"` for every value that is not its default,
            `"snapshot=lazy"` for one.
    """

    where: str
    hooks: frozenset[str] = TRAINING_HOOKS
    in_memory: bool = False
    refused: Mapping[str, str] = field(default_factory=dict)

    def check(self, rule: Checkpointing) -> Checkpointing:
        """The rule itself.

        Raises:
            UsageError: it asks for what does not work here.
        """
        if not isinstance(rule, Checkpointing):
            raise UsageError(f"checkpointing must be a Checkpointing, not {rule!r}.")
        if rule.mode != "disk" and not self.in_memory:
            raise UsageError(f"{self.where} saves to disk: pass Checkpointing(mode='disk', …).")
        strange = sorted(set(rule.save_on) - self.hooks)
        if strange:
            known = ", ".join(sorted(self.hooks))
            raise UsageError(
                f"{self.where} has no hook {strange[0]!r}, so nothing would be saved: there are {known}."
            )
        for option, why in self.refused.items():
            if _asks(rule.options, option):
                name, _, value = option.partition("=")
                what = f"{name}={value!r}" if value else name
                raise UsageError(f"{what} does not work in {self.where}: {why}.")
        return rule


def _asks(options: Options, option: str) -> bool:
    name, _, value = option.partition("=")
    found = getattr(options, name)
    return found == value if value else found != getattr(_PLAIN, name)
