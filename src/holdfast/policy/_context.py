"""Where a policy can be attached, and what it may ask for there: hooks, modes, placeholders."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from ..errors import UsageError
from ._labels import check_name, check_placeholders, fill

TRAINING_HOOKS = frozenset(
    {"phase_start", "phase_end", "epoch_start", "epoch_end", "batch_start", "batch_end"}
)
EXPERIMENT_HOOKS = frozenset(
    {"phase_start", "phase_end", "group_start", "group_end", "experiment_start", "experiment_end"}
)
TRAINING_PLACEHOLDERS = frozenset({"phase", "epoch", "batch"})
EXPERIMENT_PLACEHOLDERS = frozenset({"label"})
TRAINING_NAME_TEMPLATE = "{phase}_epoch{epoch}"
EXPERIMENT_NAME_TEMPLATE = "{label}"


@dataclass(frozen=True)
class Context:
    """A kind of parent. `sample` has a typical value for every placeholder: templates are tried with it."""

    name: str
    hooks: frozenset[str]
    modes: frozenset[str]
    default_template: str
    sample: Mapping[str, str | int]

    def check(self, mode: str, save_on: Iterable[str], template: str) -> None:
        """Refuse, with UsageError, a policy that could not work here."""
        if mode not in self.modes:
            raise UsageError(
                f"Invalid mode for {self.name}: '{mode}'. Allowed: {sorted(self.modes)}. "
                "Leave mode out, or pass mode='disk'."
            )
        unknown = set(save_on) - self.hooks
        if unknown:
            raise UsageError(
                f"Invalid hook(s) in save_on for {self.name}: {sorted(unknown)}. Allowed: {sorted(self.hooks)}."
            )
        self.check_template(template)

    def check_template(self, template: str) -> None:
        """Refuse, with UsageError, a template that would fail at the first save."""
        check_placeholders(template, frozenset(self.sample), self.name)
        check_name(fill(template, self.sample))


TRAINING = Context(
    name="TrainPhase",
    hooks=TRAINING_HOOKS,
    modes=frozenset({"memory", "disk"}),
    default_template=TRAINING_NAME_TEMPLATE,
    sample={"phase": "phase", "epoch": 0, "batch": 0},
)
EXPERIMENT = Context(
    name="Experiment",
    hooks=EXPERIMENT_HOOKS,
    modes=frozenset({"disk"}),
    default_template=EXPERIMENT_NAME_TEMPLATE,
    sample={"label": "label"},
)
