"""The table of keys and names by hook. Pure functions of the policy, the moment and the label.

Without a template of the user's (None, or the context's constant):

    hook                        key                                     name
    epoch_end                   epoch                                   {phase}_epoch{epoch}
    epoch_start                 epoch                                   {phase}_epoch{epoch}
      if epoch_end saves too      "epoch{epoch}_start"                    {phase}_epoch{epoch}_start
    batch_end                   "epoch{epoch}_batch{batch}"             {phase}_epoch{epoch}_batch{batch}
    batch_start                 the same and "_start"                   the same and _start
    phase_start, phase_end      the hook                                {phase}_start, {phase}_end
    experiment's phase_end, group_end        label                      {label}
    experiment's phase_start, group_start    label                      {label}
      if the end hook saves too                label and "_start"         {label}_start
    experiment_start, experiment_end         "START", "END"             START, END

A template of the user's is used as it is where only one hook in `save_on` can give a name from it. If
two could give the same, each adds `_{hook}`; and where a hook has no value for a placeholder (no epoch at
phase hooks, no batch at phase and epoch hooks), that placeholder is empty and `_{hook}` is added.
`{label}` is START and END at the experiment's own hooks. A template without a placeholder that changes
is a rolling name: each save replaces the one before.

A save that comes at another hook than those in `save_on` (by time, by a signal, by request) has the key and
name of its hook in this table; from an Experiment's policy, inside a phase, `{label}_epoch{epoch}_batch{batch}`.
With a template of the user's that has no place for the batch or epoch of such a hook, it is added at the end
(`_batch{batch}`), so that no save replaces another; a rolling name stays as it is.
"""

from __future__ import annotations

from collections.abc import Mapping

from ..errors import UsageError
from ..records import Moment
from . import _labels
from ._checkpointing import Checkpointing
from ._context import EXPERIMENT, EXPERIMENT_HOOKS, TRAINING, Context
from ._keys import Key
from ._labels import check_name

_VALUES_AT = {
    "phase_start": frozenset({"phase"}),
    "phase_end": frozenset({"phase"}),
    "epoch_start": frozenset({"phase", "epoch"}),
    "epoch_end": frozenset({"phase", "epoch"}),
    "batch_start": frozenset({"phase", "epoch", "batch"}),
    "batch_end": frozenset({"phase", "epoch", "batch"}),
}
_OTHER_END = {
    "phase_start": "phase_end",
    "phase_end": "phase_start",
    "group_start": "group_end",
    "group_end": "group_start",
}


def training_key(policy: Checkpointing, moment: Moment) -> Key:
    """The key in a TrainPhase's ledger of the checkpoint saved at `moment`.

    Raises:
        UsageError: not a training hook, or the moment lacks the epoch or batch that the hook has.
    """
    match moment.hook:
        case "epoch_start" | "epoch_end" as hook:
            epoch = _index(moment, "epoch")
            return f"epoch{epoch}_start" if hook == "epoch_start" and "epoch_end" in policy.save_on else epoch
        case "batch_start" | "batch_end" as hook:
            return _batch_of(moment) + _edge(hook)
        case "phase_start" | "phase_end" as hook:
            return hook
        case hook:
            raise _unknown(hook, TRAINING)


def training_name(policy: Checkpointing, moment: Moment, label: str) -> str:
    """The name of the checkpoint that the phase `label` saves at `moment`.

    Raises:
        UsageError: as `training_key`, or the name could not be a directory's everywhere.
    """
    key = training_key(policy, moment)
    template = policy.name_template
    if template is None or template == TRAINING.default_template:
        word = f"epoch{key}" if isinstance(key, int) else key.removeprefix("phase_")
        return check_name(f"{label}_{word}")
    hook, asked = moment.hook, _labels.fields(template)
    values = {"phase": label, "epoch": moment.epoch, "batch": moment.batch}
    at_hook = {name: value if name in _VALUES_AT[hook] else _EMPTY for name, value in values.items()}
    if hook not in policy.save_on:
        lacking = [unit for unit in ("epoch", "batch") if unit in _VALUES_AT[hook] - asked]
        if not asked & {"epoch", "batch"}:
            return _name(template, at_hook, hook, is_alone=True)
        if lacking:
            added = "".join(f"_{unit}{values[unit]}" for unit in lacking)
            return check_name(_labels.fill(template, at_hook) + added + _edge(hook))
    givers = {other for other in (*policy.save_on, hook) if asked <= _VALUES_AT.get(other, frozenset())}
    return _name(template, at_hook, hook, is_alone=givers == {hook})


def experiment_key(policy: Checkpointing, moment: Moment, label: str) -> Key:
    """The key in an Experiment's ledger of the checkpoint saved at `moment`, around the phase or group `label`.

    Raises:
        UsageError: not a hook of an experiment or of its phases.
    """
    match moment.hook:
        case "experiment_start":
            return "START"
        case "experiment_end":
            return "END"
        case "phase_start" | "group_start" as hook:
            return f"{label}_start" if _OTHER_END[hook] in policy.save_on else label
        case "phase_end" | "group_end":
            return label
        case "epoch_start" | "epoch_end" as hook:
            return f"{label}_epoch{_index(moment, 'epoch')}{_edge(hook)}"
        case "batch_start" | "batch_end" as hook:
            return f"{label}_{_batch_of(moment)}{_edge(hook)}"
        case hook:
            raise _unknown(hook, EXPERIMENT)


def experiment_name(policy: Checkpointing, moment: Moment, label: str) -> str:
    """The name of the checkpoint that an Experiment saves at `moment`, around the phase or group `label`.

    Raises:
        UsageError: as `experiment_key`, or the name could not be a directory's everywhere.
    """
    key = str(experiment_key(policy, moment, label))
    template = policy.name_template
    if template is None or template == EXPERIMENT.default_template:
        return check_name(key)
    hook = moment.hook
    others = set(policy.save_on) & EXPERIMENT_HOOKS - {hook}
    # Labels are unique in an experiment, so with one in the name only the two ends of a unit can meet.
    rivals = others & {_OTHER_END.get(hook)} if "label" in _labels.fields(template) else others
    shown = key if hook in ("experiment_start", "experiment_end") or hook not in EXPERIMENT_HOOKS else label
    return _name(template, {"label": shown}, hook, is_alone=not rivals)


def _name(template: str, values: Mapping[str, object], hook: str, *, is_alone: bool) -> str:
    name = _labels.fill(template, values)
    return check_name(name if is_alone else f"{name}_{hook}")


def _edge(hook: str) -> str:
    return "_start" if hook.endswith("_start") else ""


def _index(moment: Moment, unit: str) -> int:
    index = getattr(moment, unit)
    if index is None:
        raise UsageError(f"a moment at {moment.hook!r} needs its {unit}; this one has none.")
    return index


def _batch_of(moment: Moment) -> str:
    return f"epoch{_index(moment, 'epoch')}_batch{_index(moment, 'batch')}"


def _unknown(hook: str, context: Context) -> UsageError:
    return UsageError(f"{hook!r} is not a hook of {context.name}. Allowed: {sorted(context.hooks)}.")


class _Empty:
    """Stands for a value that a hook does not have: nothing, whatever the format spec."""

    def __format__(self, spec: str) -> str:
        return ""

    def __str__(self) -> str:
        return ""

    __repr__ = __str__


_EMPTY = _Empty()
