"""What a training loop cannot do of what a policy may ask for: said when the policy is given to it, and not hours later."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from copy import copy
from dataclasses import dataclass, field

from ..errors import UsageError
from ._checkpointing import Checkpointing
from ._conditions import Every, Timed
from ._context import TRAINING_HOOKS
from ._when import any_of


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Of what a policy may ask for, what does not work in one place.

    Attributes:
        where: the place, in words.
        hooks: those that it has.
        in_memory: whether checkpoints can be kept in memory, too.
        refused: why, and what to do instead, by what is refused: an argument such as `"exclude"` with any value that is
            not its default, or one of `"snapshot='lazy'"`, `"on_divergence='rollback'"` and `"when with time"`.
    """

    where: str
    hooks: frozenset[str] = TRAINING_HOOKS
    in_memory: bool = False
    refused: Mapping[str, str] = field(default_factory=dict)

    def check(self, policy: Checkpointing) -> Checkpointing:
        """The policy itself, or a copy where an unset `save_on` means something else than by default.

        Raises:
            UsageError: it asks for what does not work here.
        """
        if not isinstance(policy, Checkpointing):
            raise UsageError(f"checkpointing must be a Checkpointing, not {policy!r}.")
        if not (self.in_memory or policy.is_mode_open or policy.mode == "disk"):
            raise UsageError(f"{self.where} saves to disk: leave mode out, or pass mode='disk'.")
        policy = self._with_hook(policy)
        strange = sorted(set(policy.save_on) - self.hooks)
        if strange:
            known = ", ".join(sorted(self.hooks))
            raise UsageError(
                f"{self.where} has no hook {strange[0]!r}, so nothing would be saved: there are {known}."
            )
        for what, why in self.refused.items():
            if _ASKS[what](policy):
                raise UsageError(f"{what} does not work in {self.where}: {why}.")
        return policy

    def _with_hook(self, policy: Checkpointing) -> Checkpointing:
        """An unset `save_on` means the end of an epoch, and of a batch where there are no epochs."""
        if not policy._is_hook_open or "epoch_end" in self.hooks or "batch_end" not in self.hooks:
            return policy
        mine = copy(policy)
        mine._save_at(any_of([Every("batch_end", policy.every_n)]))
        mine._is_hook_open = False
        return mine


_ASKS: dict[str, Callable[[Checkpointing], object]] = {
    "exclude": lambda policy: policy.exclude,
    "thin_after": lambda policy: policy.thin_after,
    "snapshot='lazy'": lambda policy: policy.snapshot,
    "share_with": lambda policy: policy.write.trusted,
    "save_on_exception": lambda policy: policy.save_on_exception,
    "save_on_preemption": lambda policy: policy.save_on_preemption,
    "on_divergence": lambda policy: policy.on_divergence,
    "on_divergence='rollback'": lambda policy: policy.rolls_back,
    "when with time": lambda policy: any(
        isinstance(each, Timed) for term in policy.when.terms for each in term
    ),
}
